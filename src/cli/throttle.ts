/** `latchkey throttle list` and `latchkey users unlock`. Depends on commander and the domain's throttle. */
import type { Command } from "commander";
import type { Throttle, ThrottleEntry } from "../auth/throttle/throttle.js";
import { describeCommand, withStore, type JsonOption, type Session } from "./command.js";
import type { Store } from "../store/store.js";
import { recorded, userCalled } from "./record.js";
import { CliError, formatTable, safe, toJson, writeLine } from "./terminal.js";

export function addThrottleCommands(program: Command, session: Session): void {
  const throttle = program.command("throttle").description("See the counted failed logins.");
  describeCommand(
    throttle.command("list"),
    "List the counted failures, by username and by network.",
    "latchkey throttle list --json",
  ).action((options: JsonOption) => listThrottle(session, options));
}

export function addUnlockCommand(users: Command, session: Session): void {
  describeCommand(
    users.command("unlock <name>"),
    "Forget the failed logins of a username. Those of a network expire by themselves.",
    "latchkey users unlock TestUser",
  ).action((name: string, options: JsonOption) => unlock(session, name, options));
}

async function listThrottle(session: Session, { json = false }: JsonOption): Promise<void> {
  const { stdout } = session.terminal;
  await withThrottle(session, async (throttle) => {
    if (json) {
      for await (const entry of throttle.list()) await writeLine(stdout, toJson(describe(entry)));
      return;
    }
    for await (const line of formatTable(header, rows(throttle))) await writeLine(stdout, line);
  });
}

/** An entry as `--json` writes one; absent values are null. */
function describe({ scope, username, network, failures, retryAfterSeconds }: ThrottleEntry) {
  return {
    ...{ scope, username: username ?? null, network: network ?? null },
    ...{ failures, retryAfterSeconds },
  };
}

const header = ["SCOPE", "USERNAME", "NETWORK", "FAILURES", "RETRY AFTER"] as const;

async function* rows(throttle: Throttle): AsyncGenerator<readonly string[]> {
  for await (const entry of throttle.list()) {
    const { scope, username = "-", network = "-", failures, retryAfterSeconds } = entry;
    const wait = retryAfterSeconds === 0 ? "-" : `${retryAfterSeconds} s`;
    yield [scope, safe(username), safe(network), String(failures), wait];
  }
}

async function unlock(session: Session, name: string, { json = false }: JsonOption): Promise<void> {
  const { stdout } = session.terminal;
  const deed = { action: "user_unlocked", target: name, about: userCalled(name) };
  const unlocked = await withThrottle(session, async (throttle, store) => {
    // Checked first, so that nothing is recorded or created if nothing is counted.
    if (await isEmpty(store.throttle.list())) return false;
    const unlock = () => throttle.unlock(name);
    return recorded(session, store, deed, unlock, (isDone) => (isDone ? {} : undefined));
  });
  const sentence = unlocked ? `unlocked ${safe(name)}` : `${safe(name)} had no failed logins`;
  await writeLine(stdout, json ? toJson({ username: name, unlocked }) : sentence);
}

async function isEmpty(items: AsyncIterable<unknown>): Promise<boolean> {
  for await (const item of items) return item === undefined;
  return true;
}

async function withThrottle<T>(
  session: Session,
  work: (throttle: Throttle, store: Store) => Promise<T>,
): Promise<T> {
  const { createConfiguredThrottle } = await import("../app/throttling.js");
  return withStore(session, (store, config) => {
    const throttle = createConfiguredThrottle(config, store);
    if (throttle === undefined) {
      throw new CliError("throttle_off", "throttling is off: THROTTLE_FAILURES is 0");
    }
    return work(throttle, store);
  });
}
