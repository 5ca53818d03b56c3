/** The claims of a verified token. Depends on nothing. */

/** The claims of a verified token. */
export interface Claims {
  /** The user's id. */
  readonly sub: string;
  readonly iss: string;
  /** In seconds since 1970. */
  readonly exp: number;
  readonly iat: number;
  readonly jti: string | undefined;
  /** When the user gave the password, in seconds since 1970. */
  readonly authTime: number | undefined;
  /** Empty if the user has none. */
  readonly roles: readonly string[];
  /** All claims as they stand in the token. */
  readonly all: Readonly<Record<string, unknown>>;
}
