/** Writes the administration log. Depends on the domain's port and node:os. */
import { hostname, userInfo } from "node:os";
import type { AuditEntry, AuditOutcome, AuditStore } from "../auth/audit.js";
import { AuthError } from "../auth/errors.js";
import type { Session } from "./command.js";
import { CliError, warn } from "./terminal.js";

/** A change that is recorded. */
export interface Deed extends Pick<AuditEntry, "action" | "target" | "details"> {
  /** The start of an error message: `the user "ann"`. */
  readonly about: string;
}

export const userCalled = (name: string) => `the user ${JSON.stringify(name)}`;

/**
 * Writes an entry with the outcome "unknown", does `work`, and writes the outcome. If the first write fails,
 * `work` is not done. If `work` fails and may have changed something, the entry keeps "unknown". If the second
 * write fails, the entry keeps it too, and the command warns but succeeds. An error of the store names `about`.
 * @param detailsOf returns details to add after `work`; undefined if nothing was changed
 * @throws the errors of `work`; AuthError `store_unavailable`
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
      const message = `the outcome could not be written to the administration log: ${reason}`;
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

/** Whether certainly nothing was written. Compares names, because most commands do not load the keys' modules. */
const isRefusal = (error: unknown) =>
  error instanceof CliError ||
  (error instanceof AuthError && error.wroteNothing) ||
  (error instanceof Error && error.name === "KeyOperationError");

/** The operating system's user who runs the command. */
function operator(): AuditEntry["by"] {
  return { user: userName(), host: hostname() };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A container may run under a user id without a name.
    return "unknown";
  }
}
