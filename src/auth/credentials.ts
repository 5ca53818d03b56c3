/**
 * Reads credentials as callers present them: a username with a password, or an `Authorization`
 * header. Every surface accepts the same forms. Depends on errors and limits.
 */
import { AuthError } from "./errors.js";
import { passwordBytesMax, usernameCodePointsMax } from "./limits.js";

/** A username and password of acceptable form and length, not yet checked. */
export interface PasswordCredentials {
  readonly username: string;
  readonly password: string;
}

/** What an `Authorization` header holds. */
export type Authorization =
  | ({ readonly scheme: "basic" } & PasswordCredentials)
  | { readonly scheme: "bearer"; readonly token: string };

/**
 * @throws AuthError `invalid_argument`: `missing` where one is not a string or is empty, `too_long`
 * where the username has more than 256 code points or the password more than 1,024 bytes of UTF-8.
 */
export function parsePasswordCredentials(
  username: unknown,
  password: unknown,
): PasswordCredentials {
  if (!isFilled(username) || !isFilled(password)) {
    throw new AuthError("invalid_argument", "username or password is missing", {
      fault: "missing",
    });
  }
  if (
    hasMoreCodePoints(username, usernameCodePointsMax) ||
    Buffer.byteLength(password) > passwordBytesMax
  ) {
    throw new AuthError("invalid_argument", "username or password is too long", {
      fault: "too_long",
    });
  }
  return { username, password };
}

function isFilled(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

function hasMoreCodePoints(value: string, max: number): boolean {
  // A code point takes one or two UTF-16 units, so most strings are decided without a walk.
  if (value.length <= max) return false;
  return value.length > 2 * max || Array.from(value).length > max;
}

// RFC 9110 section 11.4: a scheme, spaces, and a token68, which Basic and Bearer both have.
const authorizationForm = /^(basic|bearer) +([A-Za-z0-9\-._~+/]+=*)$/i;
// RFC 4648 section 4. Padding may be absent; if present, it must be right.
const base64Form = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Reads an `Authorization` header: Basic (RFC 7617, in UTF-8) or Bearer (RFC 6750).
 *
 * @throws AuthError `invalid_credentials` for every fault.
 */
export function parseAuthorization(header: string | undefined): Authorization {
  const [, scheme, value] = authorizationForm.exec(header ?? "") ?? [];
  if (scheme === undefined || value === undefined) throw malformed();
  return scheme.toLowerCase() === "bearer"
    ? { scheme: "bearer", token: value }
    : { scheme: "basic", ...parseBasic(value) };
}

function parseBasic(value: string): PasswordCredentials {
  const bytes = Buffer.from(value, "base64");
  // Bits after the last byte must be zero, so that a credential has only one spelling.
  const spelling = bytes.toString("base64").replace(/=+$/, "");
  if (!base64Form.test(value) || spelling !== value.replace(/=+$/, "")) throw malformed();
  try {
    const pair = utf8.decode(bytes);
    const colon = pair.indexOf(":");
    if (colon === -1) throw malformed();
    return parsePasswordCredentials(pair.slice(0, colon), pair.slice(colon + 1));
  } catch (cause) {
    throw malformed(cause);
  }
}

function malformed(cause?: unknown): AuthError {
  return new AuthError("invalid_credentials", "malformed authorization", { cause });
}
