/**
 * What the commands share. Depends on commander, the configuration and, loaded by the commands that need it,
 * the store.
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
  /** Set by a command that ran to its end but reports a failure. */
  exitCode: number;
}

export interface JsonOption {
  readonly json?: boolean;
}

export const exitCodesHelp = `
Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.
Configuration is read from environment variables; see latchkey config. Write -- before a name that looks like an option.`;

/** Adds what every command has: a summary, `--json` and an example in its `--help`. */
export function describeCommand(command: Command, summary: string, example: string): Command {
  return command
    .description(summary)
    .option("--json", "write JSON, one document a line")
    .addHelpText("after", `\nExample:\n  $ ${example}`);
}

interface StoreOptions {
  readonly deadlineMs?: number;
  /** Whether to create a store that does not exist. Default false, so that a mistyped place is an error. */
  readonly mayCreate?: boolean;
}

/**
 * Runs `work` on the configured store.
 * @param options as for `openStore`
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

/** Like `withStore`, with the users alone. @throws ConfigError */
export function withUsers<T>(
  session: Session,
  work: (users: UserStore, config: Config) => Promise<T>,
  options: StoreOptions = {},
): Promise<T> {
  return withStore(session, ({ users }, config) => work(users, config), options);
}

const secondOf = (timeMs: number) => Math.floor(timeMs / 1000);

/** Resolves at the end of the second that `timeMs` lies in: `iat` (RFC 7519) counts whole seconds. */
export async function waitForNextSecond(clock: Clock, timeMs: number): Promise<void> {
  const endMs = (secondOf(timeMs) + 1) * 1000;
  for (let leftMs = endMs - clock.now(); leftMs > 0; leftMs = endMs - clock.now()) {
    await clock.sleep(leftMs);
  }
}

export const isSameSecond = (a: number, b: number) => secondOf(a) === secondOf(b);
