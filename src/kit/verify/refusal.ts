/** The one error of the verifier. Depends on nothing. */

/**
 * Why a token is refused:
 *
 * - `malformed`: no JSON Web Token, or longer than 8 KiB;
 * - `algorithm`, `type`: its header says anything but RS256, or a `typ` or `crit` that is not accepted;
 * - `unknown_key`, `signature`: no published key has its `kid`, or that key has not signed it;
 * - `issuer`, `audience`, `claims`: it is not from the issuer, not for this service, or lacks a claim;
 * - `expired`, `not_yet_valid`: by `exp`; by `iat` or `nbf`;
 * - `revoked`: by the published list of revocations;
 * - `keys_unavailable`, `revocations_unavailable`: nothing is known of the token, since what it is
 *   checked against cannot be read. Answer 503 then, not 401.
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

  /** Whether the token may be good: it could not be checked. */
  get isOutage(): boolean {
    return this.code === "keys_unavailable" || this.code === "revocations_unavailable";
  }
}
