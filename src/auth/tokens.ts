/**
 * Issues access tokens and verifies those that come back: RS256 JSON Web Tokens in compact
 * serialization (RFC 7519, RFC 7515, RFC 7518 section 3.3). Depends on errors, keys, limits and
 * node:crypto.
 *
 * Signs and verifies with node:crypto directly: jose takes some 40 us of CPU more for each renewal
 * (`npm run bench`), and accepts tokens that the contract refuses. The tests check both directions
 * against jose.
 */
import { randomUUID, sign, verify, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { AuthError } from "./errors.js";
import { parseJson } from "./json.js";
import { tokenBytesMax } from "./limits.js";
import type { KeySet, SigningKey, VerificationKey } from "./keys/keys.js";
import type { Account } from "./users.js";

/** The `typ` of the header: that of the old servers, or that of RFC 9068. */
export type TokenType = "JWT" | "at+jwt";

export interface TokenPolicy {
  readonly type: TokenType;
  readonly issuer: string;
  readonly audience: string | undefined;
  readonly ttlSeconds: number;
  /** Clock difference forgiven in `exp`, `nbf` and `iat`. */
  readonly leewaySeconds: number;
  /** Time after `auth_time` for which a token can be renewed; no leeway. */
  readonly maxSessionSeconds: number;
}

export interface IssuedToken {
  readonly accessToken: string;
  /** The `exp` claim: seconds since the epoch. */
  readonly expiresAtSeconds: number;
}

/**
 * The content of a verified token. NOT verified yet: that its user still exists and is not
 * disabled.
 */
export interface VerifiedToken {
  readonly subject: string;
  readonly issuedAtSeconds: number;
  readonly authTimeSeconds: number;
}

export interface Tokens {
  /**
   * Issues a token for the user. `authTimeSeconds` is when the password was checked; default now.
   *
   * @throws AuthError `store_unavailable` while there is no key to sign with.
   */
  issue(user: Account, authTimeSeconds?: number): Promise<IssuedToken>;
  /** @throws AuthError `token_invalid`, `token_expired`, or `store_unavailable` without fresh keys. */
  verify(token: string): Promise<VerifiedToken>;
}

const keyIdsMax = 64;

export function createTokens(policy: TokenPolicy, keys: KeySet, clock: { now(): number }): Tokens {
  const signInput = createSigner();
  const encodedHeader = createHeaderEncoder(policy.type);
  // RFC 9068 section 2.2 requires `client_id`. This service takes the password and knows no other
  // client, so it names itself.
  const clientId = policy.type === "at+jwt" ? policy.issuer : undefined;
  /**
   * The `kid` by encoded header, of tokens whose signature was right: few headers come again and
   * again.
   */
  const keyIds = new Map<string, string>();
  return {
    async issue(user, authTimeSeconds) {
      const issuedAtSeconds = Math.floor(clock.now() / 1000);
      const expiresAtSeconds = issuedAtSeconds + policy.ttlSeconds;
      const key = await keys.signingKey();
      const claims = JSON.stringify({
        sub: user.id.value,
        iss: policy.issuer,
        exp: expiresAtSeconds,
        iat: issuedAtSeconds,
        jti: randomUUID(),
        auth_time: authTimeSeconds ?? issuedAtSeconds,
        aud: policy.audience,
        roles: user.roles.length > 0 ? user.roles : undefined,
        client_id: clientId,
      });
      const input = `${encodedHeader(key)}.${Buffer.from(claims).toString("base64url")}`;
      const signature = await signInput(Buffer.from(input), key.privateKey);
      return { accessToken: `${input}.${signature.toString("base64url")}`, expiresAtSeconds };
    },

    async verify(token) {
      if (token.length > tokenBytesMax) throw invalid("too long");
      const [header, claims, signature, ...rest] = token.split(".");
      if (
        header === undefined ||
        claims === undefined ||
        signature === undefined ||
        rest.length > 0
      )
        throw invalid("not three parts");
      const kid = keyIds.get(header) ?? keyIdOf(decodeJson(header));
      const decoded = decodeJson(claims);
      // One key may be in the set twice: for our tokens, and for those of another issuer.
      const candidates = (await keys.verificationKeys(kid)).filter(
        (key) => decoded["iss"] === (key.issuer ?? policy.issuer),
      );
      const input = token.slice(0, header.length + 1 + claims.length);
      const key = verifySignature(input, decodeBase64url(signature), candidates);
      if (kid !== undefined && keyIds.size < keyIdsMax) keyIds.set(header, kid);
      return verifyClaims(decoded, key, policy, clock.now() / 1000);
    },
  };
}

const algorithm = "RSA-SHA256";
const signInThreadPool = promisify(sign);

/**
 * Signs the first token of a turn of the event loop at once: the way to the thread pool and back
 * costs a fifth of a signature. Signs the others in the thread pool, so that other cores share the
 * work.
 */
function createSigner(): (input: Buffer, key: KeyObject) => Buffer | Promise<Buffer> {
  let hasSigned = false;
  let inThreadPool = 0;
  const endTurn = () => {
    hasSigned = false;
  };
  const leaveThreadPool = () => {
    inThreadPool--;
  };
  return (input, key) => {
    if (hasSigned || inThreadPool > 0) {
      inThreadPool++;
      return signInThreadPool(algorithm, input, key).finally(leaveThreadPool);
    }
    hasSigned = true;
    setImmediate(endTurn);
    return sign(algorithm, input, key);
  };
}

function createHeaderEncoder(typ: TokenType): (key: SigningKey) => string {
  const encodedHeaders = new WeakMap<KeyObject, string>();
  return ({ kid, privateKey }) => {
    let encoded = encodedHeaders.get(privateKey);
    if (encoded === undefined) {
      const header = JSON.stringify({ typ, alg: "RS256", kid });
      encoded = Buffer.from(header).toString("base64url");
      encodedHeaders.set(privateKey, encoded);
    }
    return encoded;
  };
}

/** Accepts both types, since `TOKEN_TYPE` may differ between replicas while it is changed. */
const acceptedTypes: readonly string[] = ["JWT", "AT+JWT"];

/**
 * Returns the `kid` of an acceptable header. Ignores members that would bring a key of their own
 * (`jwk`, `jku`, `x5u`, `x5c`).
 */
function keyIdOf({ alg, typ, kid, ...others }: JsonObject): string | undefined {
  if (alg !== "RS256") throw invalid("algorithm");
  if (typ !== undefined && !(typeof typ === "string" && acceptedTypes.includes(typ.toUpperCase())))
    throw invalid("type");
  if ("crit" in others) throw invalid("critical extension");
  if (kid !== undefined && typeof kid !== "string") throw invalid("key id");
  return kid;
}

function verifySignature(
  input: string,
  signature: Buffer,
  candidates: readonly VerificationKey[],
): VerificationKey {
  const bytes = Buffer.from(input);
  for (const key of candidates) {
    // Synchronous, since the way to the thread pool and back takes longer.
    if (verify(algorithm, bytes, key.publicKey, signature)) return key;
  }
  throw invalid("no key fits both issuer and signature");
}

function verifyClaims(
  claims: JsonObject,
  key: VerificationKey,
  policy: TokenPolicy,
  nowSeconds: number,
): VerifiedToken {
  const { sub, aud, exp, iat, nbf, jti, auth_time: authTime } = claims;
  const absentIsFine = (value: unknown) => value === undefined && key.legacy;

  if (!isForAudience(aud, policy.audience) && !absentIsFine(aud)) throw invalid("audience");
  if (typeof sub !== "string" || sub === "") throw invalid("subject");
  if (typeof jti !== "string" && !absentIsFine(jti)) throw invalid("token id");
  if (!isFinite(exp)) throw invalid("expiry");
  const latest = nowSeconds + policy.leewaySeconds;
  if (!isFinite(iat) || iat > latest) throw invalid("issue time");
  if (nbf !== undefined && !(isFinite(nbf) && nbf <= latest)) throw invalid("not before");
  if (!(isFinite(authTime) && authTime <= latest) && !absentIsFine(authTime))
    throw invalid("authentication time");

  if (exp + policy.leewaySeconds <= nowSeconds) throw expired("token");
  const authTimeSeconds = isFinite(authTime) ? authTime : iat;
  if (authTimeSeconds + policy.maxSessionSeconds <= nowSeconds) throw expired("session");
  return { subject: sub, issuedAtSeconds: iat, authTimeSeconds };
}

/** A token that names an audience is only for that audience (RFC 7519 section 4.1.3). */
function isForAudience(claim: unknown, audience: string | undefined): boolean {
  return claim === audience || (Array.isArray(claim) && claim.includes(audience));
}

type JsonObject = Readonly<Record<string, unknown>>;

function decodeJson(part: string): JsonObject {
  let value: unknown;
  try {
    value = parseJson(decodeBase64url(part));
  } catch (cause) {
    throw invalid("encoding", cause);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid("form");
  return value as JsonObject;
}

/** Strict (RFC 7515 section 2): no padding, no foreign characters, and zeros in unused bits. */
function decodeBase64url(part: string): Buffer {
  const bytes = Buffer.from(part, "base64url");
  if (part === "" || bytes.toString("base64url") !== part) throw invalid("base64url");
  return bytes;
}

function isFinite(value: unknown): value is number {
  return Number.isFinite(value);
}

function invalid(what: string, cause?: unknown): AuthError {
  return new AuthError("token_invalid", `token refused: ${what}`, { cause });
}

function expired(what: string): AuthError {
  return new AuthError("token_expired", `${what} expired`);
}
