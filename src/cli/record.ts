/** Keeps the record of what the command line does. Depends on the domain's port and node:os. */
import { hostname, userInfo } from "node:os";
import type { AuditEntry, AuditOutcome, AuditStore } from "../auth/audit.js";
import { AuthError } from "../auth/errors.js";
import type { Session } from "./command.js";
import { CliError, warn } from "./terminal.js";

export interface Deed extends Pick<AuditEntry, "action" | "target" | "details"> {
  /** What a message about a failure names: `the user "ann"`. */
  readonly about: string;
}

export const userCalled = (name: string) => `the user ${JSON.stringify(name)}`;

/**
 * Does `work` between two writes of the record. Where the first one fails nothing is done. Where
 * `work` leaves open what it did, the entry goes on saying that the outcome is unknown; so it does where the
 * second write fails, which is a warning: what was done is done. A fault of the store names what it was
 * about.
 * @param detailsOf what to add once it is over; undefined where nothing was changed.
 * @throws what `work` throws; AuthError `store_unavailable`
 */
export async function recorded<T>(
  session: Session,
  { audit }: { readonly audit: AuditStore },
  { about, ...deed }: Deed,
  work: () => Promise<T>,
  detailsOf: (value: T) => AuditEntry["details"] = () => ({}),
): Promise<T> {
  const entry = { ...deed, by: operator(), atMs: session.clock.now() };
  const id = await audit.add(entry).catch((error: unknown) => {
    throw named(about, error);
  });
  const settle = (outcome: AuditOutcome, details?: AuditEntry["details"]) =>
    audit.settle(id, outcome, details).catch((error: unknown) => {
      const reason = error instanceof Error ? error.message : String(error);
      const message = `the record of administration does not say how this ended: ${reason}`;
      return warn(session.terminal, message);
    });
  try {
    const value = await work();
    const details = detailsOf(value);
    await settle(details === undefined ? "nothing" : "done", details);
    return value;
  } catch (error) {
    if (isRefusal(error)) await settle("nothing");
    throw named(about, error);
  }
}

function named(about: string, error: unknown): unknown {
  if (!(error instanceof AuthError)) return error;
  const { code, message, cause } = error;
  return new AuthError(code, `${about}: ${message}`, { cause });
}

/** Whether nothing was written for sure. Told by name, since most commands never load the keys' modules. */
const isRefusal = (error: unknown) =>
  error instanceof CliError || (error instanceof Error && error.name === "KeyOperationError");

/** Whoever runs the command, as the operating system knows him. */
function operator(): AuditEntry["by"] {
  return { user: userName(), host: hostname() };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A container may run as a number that has no name.
    return "unknown";
  }
}
