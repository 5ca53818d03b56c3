/**
 * The published list of revocations: a signed JWT that names users by a keyed digest of `sub`, with the
 * second up to which their tokens are refused, and revoked keys by `kid`. Depends on jose.
 */
import { jwtVerify, type JWTVerifyGetKey } from "jose";

/** The `typ` of the list, so that neither a token can pass for a list nor a list for a token. */
export const revocationsType = "latchkey-revocations+jwt";

export interface Revocations {
  readonly isEmpty: boolean;
  isKeyRevoked(kid: string | undefined): boolean;
  /** Whether tokens of `sub` with that `iat` are refused. */
  isRevoked(subject: string, issuedAtSeconds: number): Promise<boolean>;
}

const digestCharacters = 22;
const digestsMax = 10_000;

/** Verifies and parses a list. @throws an error of jose, or TypeError, if it is not a list signed by the issuer */
export async function readRevocations(
  jwt: string,
  keys: JWTVerifyGetKey,
  issuer: string,
  now: Date,
): Promise<Revocations> {
  const { payload } = await jwtVerify(jwt.trim(), keys, {
    algorithms: ["RS256"],
    typ: revocationsType,
    issuer,
    currentDate: now,
    clockTolerance: 60,
    requiredClaims: ["exp", "iat"],
  });
  const { salt, users, keys: revokedKeys } = payload;
  if (typeof salt !== "string" || !isTable(users) || !Array.isArray(revokedKeys)) {
    throw new TypeError("the list of revocations has another form");
  }
  const moments = new Map(Object.entries(users).map(([digest, at]) => [digest, Number(at)]));
  const kids = new Set<unknown>(revokedKeys);
  const digestOf = await createDigest(salt);
  return {
    isEmpty: moments.size === 0 && kids.size === 0,
    isKeyRevoked: (kid) => kids.has(kid),
    async isRevoked(subject, issuedAtSeconds) {
      if (moments.size === 0) return false;
      const at = moments.get(await digestOf(subject));
      return at !== undefined && issuedAtSeconds <= at;
    },
  };
}

const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Returns a function that computes HMAC-SHA-256 of a subject, keyed with the salt: its first 132 bits in base64url. */
async function createDigest(salt: string): Promise<(subject: string) => Promise<string>> {
  const encoder = new TextEncoder();
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", encoder.encode(salt), algorithm, false, [
    "sign",
  ]);
  const known = new Map<string, string>();
  return async (subject) => {
    let digest = known.get(subject);
    if (digest === undefined) {
      const bytes = new Uint8Array(await crypto.subtle.sign("HMAC", key, encoder.encode(subject)));
      digest = btoa(String.fromCharCode(...bytes))
        .replaceAll("+", "-")
        .replaceAll("/", "_")
        .slice(0, digestCharacters);
      if (known.size >= digestsMax) known.clear();
      known.set(subject, digest);
    }
    return digest;
  };
}
