/** The port to the store that keeps revocations. Depends on nothing. */

export interface Revocation {
  /** The `sub` of the tokens. */
  readonly subject: string;
  /** Tokens whose `iat` is not after this are refused; milliseconds since the epoch. */
  readonly atMs: number;
}

/** Every method throws AuthError `store_unavailable` if the store does not answer in time. */
export interface RevocationStore {
  /** Adds a revocation that is kept until `expiresAtMs`. The latest one of a subject counts. */
  add(revocation: Revocation, expiresAtMs: number): Promise<void>;
  /** Changes with every `add`, by any process. */
  version(): Promise<string>;
  /** The revocations that have not expired at `nowMs`, the latest first, at most `most`. */
  list(nowMs: number, most: number): Promise<readonly Revocation[]>;
}
