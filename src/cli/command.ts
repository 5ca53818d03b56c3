/**
 * What the commands have in common. Depends on commander, the configuration and, once a command needs
 * it, the store.
 */
import type { Command } from "commander";
import type { UserStore } from "../auth/users.js";
import { parseConfig, type Config } from "../config/config.js";
import type { Store } from "../store/store.js";
import type { Terminal } from "./terminal.js";

export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  sleep(milliseconds: number): Promise<unknown>;
}

/** One run of the command line. */
export interface Session {
  readonly terminal: Terminal;
  readonly clock: Clock;
  /** Set by a command that has done its work, though not all of it went well. */
  exitCode: number;
}

export interface JsonOption {
  readonly json?: boolean;
}

export const exitCodesHelp = `
Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.
Configuration is read from environment variables; see latchkey config. Write -- before a name that is also an option.`;

/** Gives a command what every command has: a summary, `--json` and an example in its `--help`. */
export function describeCommand(command: Command, summary: string, example: string): Command {
  return command
    .description(summary)
    .option("--json", "write JSON, one document a line")
    .addHelpText("after", `\nExample:\n  $ ${example}`);
}

interface StoreOptions {
  readonly deadlineMs?: number;
  /** Whether a store that is not there is made. Default false: a mistyped place is told, not filled. */
  readonly mayCreate?: boolean;
}

/**
 * Runs `work` on the configured store.
 * @param options as those of `openStore`.
 * @throws ConfigError
 */
export async function withStore<T>(
  { terminal }: Session,
  work: (store: Store, config: Config) => Promise<T>,
  options: StoreOptions = {},
): Promise<T> {
  const config = parseConfig(terminal.env);
  const { openStore } = await import("../store/open-store.js");
  const store = await openStore(config, { mayCreate: false, ...options });
  try {
    return await work(store, config);
  } finally {
    await store.close();
  }
}

/** As `withStore`, for the users. @throws ConfigError */
export function withUsers<T>(
  session: Session,
  work: (users: UserStore, config: Config) => Promise<T>,
  options: StoreOptions = {},
): Promise<T> {
  return withStore(session, ({ users }, config) => work(users, config), options);
}

const secondOf = (timeMs: number) => Math.floor(timeMs / 1000);

/** Resolves once the second that `timeMs` is in has passed: `iat` (RFC 7519) counts whole ones. */
export async function waitForNextSecond(clock: Clock, timeMs: number): Promise<void> {
  const endMs = (secondOf(timeMs) + 1) * 1000;
  for (let leftMs = endMs - clock.now(); leftMs > 0; leftMs = endMs - clock.now()) {
    await clock.sleep(leftMs);
  }
}

export const isSameSecond = (a: number, b: number) => secondOf(a) === secondOf(b);
