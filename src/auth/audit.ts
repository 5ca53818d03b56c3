/**
 * The administration log: a record of what administrators did, and the port to the store that keeps
 * it. Depends on nothing.
 */

export interface AuditEntry {
  /** What was done, such as `user_added`. */
  readonly action: string;
  /** The username or `kid` that was changed; absent if there were many. */
  readonly target?: string;
  /** The user of the operating system, and the machine's name. */
  readonly by: { readonly user: string; readonly host: string };
  /** When it began, in milliseconds since the epoch. */
  readonly atMs: number;
  /** More about the action, such as roles or counts. Holds no secret. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/**
 * `done`: the change is stored. `nothing`: nothing was changed. `unknown`: no outcome was recorded,
 * because the store failed or the command was killed.
 */
export type AuditOutcome = "done" | "nothing" | "unknown";

export interface StoredAuditEntry extends AuditEntry {
  readonly id: string;
  readonly outcome: AuditOutcome;
}

/**
 * Keeps the latest entries. A command adds its entry before it acts, so that no change goes
 * unrecorded, and settles it afterwards. Every method answers within the store's own deadline, or
 * throws an `AuthError` with the code `store_unavailable`; what it wrote survives the process and
 * the machine once the promise has resolved.
 */
export interface AuditStore {
  /**
   * Adds an entry with the outcome `unknown` and returns its id. Drops the oldest of too many
   * entries.
   */
  add(entry: AuditEntry): Promise<string>;
  /** Records how the action ended; `details` are added to those that are there. */
  settle(
    id: string,
    outcome: AuditOutcome,
    details?: Readonly<Record<string, unknown>>,
  ): Promise<void>;
  /** The entries from `sinceMs` on, oldest first. */
  list(sinceMs: number): AsyncIterable<StoredAuditEntry>;
}

/** The most entries that a store keeps. */
export const auditEntriesMax = 10_000;

/** An id that sorts by time. Within one millisecond the order is random. */
export function auditIdOf(atMs: number, random: string): string {
  return `${String(Math.max(0, atMs)).padStart(16, "0")}-${random}`;
}
