/** The error of the verifier. Depends on nothing. */

/**
 * Why a token is refused:
 *
 * - `malformed`: it is not a JSON Web Token, or longer than 8 KiB;
 * - `algorithm`, `type`: the header has an `alg` other than RS256, or a `typ` or `crit` that is not accepted;
 * - `unknown_key`, `signature`: no published key has the `kid`, or the key has not signed the token;
 * - `issuer`, `audience`, `claims`: it is of another issuer, for another service, or lacks a claim;
 * - `expired`, `not_yet_valid`: by `exp`; by `iat` or `nbf`;
 * - `revoked`: by the published list of revocations;
 * - `keys_unavailable`, `revocations_unavailable`: the token could not be checked, because the key set or the
 *   list cannot be read. Answer 503 then, not 401.
 */
export type RefusalCode =
  | "malformed"
  | "algorithm"
  | "type"
  | "unknown_key"
  | "signature"
  | "issuer"
  | "audience"
  | "claims"
  | "expired"
  | "not_yet_valid"
  | "revoked"
  | "keys_unavailable"
  | "revocations_unavailable";

export class TokenRefused extends Error {
  override readonly name = "TokenRefused";
  readonly code: RefusalCode;

  constructor(code: RefusalCode, options?: ErrorOptions) {
    super(`token refused: ${code.replaceAll("_", " ")}`, options);
    this.code = code;
  }

  /** Whether the token could not be checked, so that it may be valid. */
  get isOutage(): boolean {
    return this.code === "keys_unavailable" || this.code === "revocations_unavailable";
  }
}
