/**
 * The record of what administrators did, and the port to the store that keeps it. Depends on nothing.
 */

export interface AuditEntry {
  /** What was done, as `user_added`. */
  readonly action: string;
  /** The username or `kid` that it was done to; absent where it was many. */
  readonly target?: string;
  /** The user of the operating system, and the machine. */
  readonly by: { readonly user: string; readonly host: string };
  /** When it began, in milliseconds since the epoch. */
  readonly atMs: number;
  /** What else there is to say: roles, counts. No secret. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/**
 * `done`: it is stored. `nothing`: nothing was changed. `unknown`: whoever did it has not come back to
 * say so; the store may have failed, or the command was killed.
 */
export type AuditOutcome = "done" | "nothing" | "unknown";

export interface StoredAuditEntry extends AuditEntry {
  readonly id: string;
  readonly outcome: AuditOutcome;
}

/**
 * Keeps the latest entries. An entry is added before the deed, so that there is no deed without one, and
 * settled after it. Every method answers within the store's own deadline, or throws an `AuthError` with the
 * code `store_unavailable`; what it wrote survives the process and the machine once the promise has resolved.
 */
export interface AuditStore {
  /** Adds an entry whose outcome is `unknown`, and returns its id. The oldest of too many entries go. */
  add(entry: AuditEntry): Promise<string>;
  /** Says how it ended; `details` are added to those that are there. */
  settle(
    id: string,
    outcome: AuditOutcome,
    details?: Readonly<Record<string, unknown>>,
  ): Promise<void>;
  /** The entries from `sinceMs` on, oldest first. */
  list(sinceMs: number): AsyncIterable<StoredAuditEntry>;
}

/** How many entries a store keeps. */
export const auditEntriesMax = 10_000;

/** An id that sorts by time; of two entries of one millisecond, by chance. */
export function auditIdOf(atMs: number, random: string): string {
  return `${String(Math.max(0, atMs)).padStart(16, "0")}-${random}`;
}
