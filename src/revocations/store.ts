/** The port to the store that keeps what was revoked. Depends on nothing. */

export interface Revocation {
  /** `sub` of the tokens. */
  readonly subject: string;
  /** Tokens whose `iat` is not after this are refused; milliseconds since the epoch. */
  readonly atMs: number;
}

/** Every method throws AuthError `store_unavailable` where the store does not answer in time. */
export interface RevocationStore {
  /** Adds a revocation until `expiresAtMs`; of several of a subject the latest holds. */
  add(revocation: Revocation, expiresAtMs: number): Promise<void>;
  /** Changes with every `add` of any process. */
  version(): Promise<string>;
  /** Those that have not expired at `nowMs`, the latest first, at most so many. */
  list(nowMs: number, most: number): Promise<readonly Revocation[]>;
}
