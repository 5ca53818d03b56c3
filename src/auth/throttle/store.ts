/**
 * The port to the store that keeps the throttle's records. Depends on nothing.
 */

export interface ThrottleDocument {
  readonly document: string;
  /** When the store may forget it, in milliseconds since the epoch; undefined for never. */
  readonly expiresAtMs: number | undefined;
  /**
   * Whether a store that holds too many documents may forget it earlier, in the order of expiry.
   */
  readonly isDisposable: boolean;
}

/**
 * Small documents by key, each written by compare-and-set, so that every change is decided once for
 * all processes and replicas. `read`, `write` and `list`
 *
 * - answer within the store's own deadline, or throw an `AuthError` with the code
 *   `store_unavailable`, after which a write may have happened;
 * - see what any process wrote before the call began, and what they wrote themselves survives the process
 *   and the machine once the promise has resolved.
 *
 * Keys are at most 64 characters of ASCII.
 */
export interface ThrottleStore {
  /** The document under each key, in order, in one round trip. May include expired ones. */
  read(
    keys: readonly string[],
  ): Promise<({ readonly version: string; readonly document: string } | undefined)[]>;
  /**
   * Writes if `version` is what is stored, or undefined and nothing is stored. Returns the new
   * version, which no other write of this key ever has. Otherwise writes nothing and returns
   * undefined.
   */
  write(
    key: string,
    version: string | undefined,
    document: ThrottleDocument,
  ): Promise<string | undefined>;
  /** All documents, in no particular order, in memory that does not grow with their number. */
  list(): AsyncIterable<{ readonly key: string; readonly document: string }>;
  /**
   * The store's time in milliseconds since the epoch. All processes on the store get the same
   * within a second or two, however wrong this machine's clock is. Makes no call.
   */
  now(): number;
}
