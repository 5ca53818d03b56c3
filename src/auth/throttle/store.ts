/**
 * The port to the store that keeps what the throttle remembers. Depends on nothing.
 */

export interface ThrottleDocument {
  readonly document: string;
  /** From when on the store may forget it, in milliseconds since the epoch; undefined for never. */
  readonly expiresAtMs: number | undefined;
  /** Whether the store may forget it earlier, the one that expires first, where it holds too many. */
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
  /** What is stored under each key, in order, in one round trip. Expired documents may be among it. */
  read(
    keys: readonly string[],
  ): Promise<({ readonly version: string; readonly document: string } | undefined)[]>;
  /**
   * Writes only if `version` is that of what is stored, undefined meaning that nothing is. Returns the
   * new version, which no other write of that key ever has; undefined, and nothing written, if not.
   */
  write(
    key: string,
    version: string | undefined,
    document: ThrottleDocument,
  ): Promise<string | undefined>;
  /** All documents, in no particular order, in memory that does not grow with their number. */
  list(): AsyncIterable<{ readonly key: string; readonly document: string }>;
  /**
   * What time it is where the store is, in milliseconds since the epoch, within a second or two of what every
   * other process on this store is told, however wrong this machine's clock is. Asks nobody.
   */
  now(): number;
}
