/** What a verified token says. Depends on nothing. */

/** The claims of a token that was verified. */
export interface Claims {
  /** The user's id. */
  readonly sub: string;
  readonly iss: string;
  /** Seconds since the epoch. */
  readonly exp: number;
  readonly iat: number;
  readonly jti: string | undefined;
  /** When the user gave the password, in seconds since the epoch. */
  readonly authTime: number | undefined;
  /** Empty where the user has none. */
  readonly roles: readonly string[];
  /** Every claim as it stands in the token. */
  readonly all: Readonly<Record<string, unknown>>;
}
