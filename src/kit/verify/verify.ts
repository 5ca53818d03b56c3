/**
 * Verifies access tokens by the published key set, without a call per token (RFC 7519, RFC 8725).
 * Depends on jose and its neighbours.
 */
import {
  createLocalJWKSet,
  errors,
  jwtVerify,
  type CryptoKey,
  type JSONWebKeySet,
  type JWTPayload,
  type JWTVerifyGetKey,
} from "jose";
import { CachedDocument } from "./cached-document.js";
import type { Claims } from "./claims.js";
import {
  createFastifyHook,
  createMiddleware,
  type FastifyHook,
  type Middleware,
  type MiddlewareOptions,
} from "./middleware.js";
import { TokenRefused, type RefusalCode } from "./refusal.js";
import { readRevocations, type Revocations } from "./revocations.js";

export {
  claimsOf,
  type FastifyHook,
  type Middleware,
  type MiddlewareOptions,
} from "./middleware.js";
export type { Claims } from "./claims.js";
export { TokenRefused, type RefusalCode } from "./refusal.js";

export interface VerifierOptions {
  /** `iss` of the tokens, compared exactly. Not empty. */
  readonly issuer: string;
  /** The address of the key set, such as `https://auth.example.com/.well-known/jwks.json`. */
  readonly jwksUrl: string;
  /** The `aud` that a token must have; of several, one. Not empty. Without this option `aud` is not checked. */
  readonly audience?: string | readonly string[];
  /** The clock difference allowed in `exp`, `iat` and `nbf`. From 0 to 300 s, default 10. */
  readonly leewaySeconds?: number;
  /** Accepted values of the header's `typ`. At least one, default `JWT` and `at+jwt`. */
  readonly types?: readonly string[];
  /** The shortest time between two reads of the key set because of unknown `kid`s. From 1 to 3600 s, default 10. */
  readonly unknownKeyPauseSeconds?: number;
  /**
   * The address of the list of revocations, such as `https://auth.example.com/.well-known/revocations`. Without it no
   * token is refused as revoked.
   */
  readonly revocationsUrl?: string;
  /** How old a list may be that cannot be read again. From 10 to 86,400 s, default 60. */
  readonly revocationsMaxAgeSeconds?: number;
  /** Whether tokens are accepted (`open`) or refused (`closed`) without such a list. Default `closed`. */
  readonly withoutRevocations?: "open" | "closed";
  /** The deadline of one read. From 100 to 60,000 ms, default 5000. */
  readonly timeoutMs?: number;
  /** Default the global `fetch`. */
  readonly fetch?: typeof fetch;
  /** Milliseconds since 1970. Default the system's clock. */
  readonly now?: () => number;
}

export interface Verifier {
  /** Verifies a token and resolves with its claims. @throws TokenRefused */
  verify(token: string): Promise<Claims>;
  /** For node:http, Express and frameworks with the same middlewares. */
  middleware(options?: MiddlewareOptions): Middleware;
  /** For Fastify: `app.addHook("onRequest", verifier.fastifyHook())`. */
  fastifyHook(options?: MiddlewareOptions): FastifyHook;
}

const tokenBytesMax = 8192;
const compact = /^[\w-]+\.[\w-]+\.[\w-]+$/;
/** The age after which the list of revocations is read again before a token is verified. */
const revocationsAgeMs = 5000;

/** @throws RangeError if a number is out of its range, TypeError if another option is not valid */
export function createVerifier(options: VerifierOptions): Verifier {
  return new LatchkeyVerifier(options);
}

class LatchkeyVerifier implements Verifier {
  readonly #options: VerifierOptions;
  readonly #now: () => number;
  readonly #leewaySeconds: number;
  readonly #types: ReadonlySet<string>;
  readonly #unknownKeyPauseMs: number;
  readonly #keys: CachedDocument<JWTVerifyGetKey>;
  readonly #revocations: CachedDocument<Revocations> | undefined;

  constructor(options: VerifierOptions) {
    const { revocationsUrl, now = Date.now } = options;
    requireTexts(options);
    this.#options = options;
    this.#now = now;
    this.#leewaySeconds = inRange("leewaySeconds", options.leewaySeconds ?? 10, 0, 300);
    this.#types = new Set((options.types ?? ["JWT", "at+jwt"]).map(typeName));
    const pause = options.unknownKeyPauseSeconds ?? 10;
    this.#unknownKeyPauseMs = inRange("unknownKeyPauseSeconds", pause, 1, 3600) * 1000;
    const staleSeconds = options.revocationsMaxAgeSeconds ?? 60;
    const staleMs = inRange("revocationsMaxAgeSeconds", staleSeconds, 10, 86_400) * 1000;
    const timeoutMs = inRange("timeoutMs", options.timeoutMs ?? 5000, 100, 60_000);
    const source = { timeoutMs, now, fetch: options.fetch ?? ((...args) => fetch(...args)) };
    this.#keys = new CachedDocument<JWTVerifyGetKey>({
      ...source,
      url: options.jwksUrl,
      maxAgeMs: 300_000,
      maxAgeMaxMs: 86_400_000,
      parse: (body) => createLocalJWKSet(JSON.parse(body) as JSONWebKeySet),
    });
    this.#revocations =
      revocationsUrl === undefined
        ? undefined
        : new CachedDocument<Revocations>({
            ...source,
            url: revocationsUrl,
            maxAgeMs: revocationsAgeMs,
            maxAgeMaxMs: revocationsAgeMs,
            staleMs: staleMs - revocationsAgeMs,
            parse: (jwt) => this.#readRevocations(jwt),
          });
  }

  async verify(token: string): Promise<Claims> {
    if (token.length > tokenBytesMax || !compact.test(token)) throw new TokenRefused("malformed");
    const { kid, typ } = headerOf(token);
    if (typ !== undefined && !this.#types.has(typeName(typ))) throw new TokenRefused("type");
    const [payload, revocations] = await Promise.all([
      this.#verifySignature(token, kid),
      this.#currentRevocations(),
    ]);
    const claims = this.#claimsOf(payload);
    const isRevoked =
      revocations !== undefined &&
      (revocations.isKeyRevoked(kid) || (await revocations.isRevoked(claims.sub, claims.iat)));
    if (isRevoked) throw new TokenRefused("revoked");
    return claims;
  }

  middleware(options?: MiddlewareOptions): Middleware {
    return createMiddleware(this, options);
  }

  fastifyHook(options?: MiddlewareOptions): FastifyHook {
    return createFastifyHook(this, options);
  }

  async #verifySignature(token: string, kid: string | undefined): Promise<JWTPayload> {
    const keys = await this.#keySet();
    try {
      return await this.#jwtVerify(token, keys);
    } catch (error) {
      if (error instanceof errors.JWKSMultipleMatchingKeys) return this.#verifyByAny(token, error);
      if (!(error instanceof errors.JWKSNoMatchingKey) || kid === undefined) throw refusalOf(error);
    }
    // The key may be newer than the cached set. Limited, so that a flood of made-up ids causes no requests.
    if (!(await this.#keys.refresh(this.#unknownKeyPauseMs))) throw new TokenRefused("unknown_key");
    try {
      return await this.#jwtVerify(token, await this.#keySet());
    } catch (error) {
      throw refusalOf(error);
    }
  }

  /** A token without `kid`, which old servers issue, may be signed by any of the published keys. */
  async #verifyByAny(token: string, keys: AsyncIterable<CryptoKey>): Promise<JWTPayload> {
    for await (const key of keys) {
      try {
        return await this.#jwtVerify(token, () => Promise.resolve(key));
      } catch (error) {
        if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw refusalOf(error);
      }
    }
    throw new TokenRefused("signature");
  }

  async #keySet(): Promise<JWTVerifyGetKey> {
    try {
      return await this.#keys.value();
    } catch (cause) {
      throw new TokenRefused("keys_unavailable", { cause });
    }
  }

  async #jwtVerify(token: string, keys: JWTVerifyGetKey): Promise<JWTPayload> {
    const { issuer, audience } = this.#options;
    const { payload } = await jwtVerify(token, keys, {
      algorithms: ["RS256"],
      issuer,
      ...(audience !== undefined && {
        audience: typeof audience === "string" ? audience : [...audience],
      }),
      clockTolerance: this.#leewaySeconds,
      currentDate: new Date(this.#now()),
      requiredClaims: ["sub", "exp", "iat"],
    });
    return payload;
  }

  #claimsOf(payload: JWTPayload): Claims {
    const { sub, iss, exp, iat, jti, auth_time: authTime, roles = [] } = payload;
    const areRoles = Array.isArray(roles) && roles.every((role) => typeof role === "string");
    if (!sub || iss === undefined || exp === undefined || iat === undefined || !areRoles) {
      throw new TokenRefused("claims");
    }
    if (iat > this.#now() / 1000 + this.#leewaySeconds) throw new TokenRefused("not_yet_valid");
    const since = typeof authTime === "number" ? authTime : undefined;
    return { sub, iss, exp, iat, jti, authTime: since, roles, all: payload };
  }

  async #currentRevocations(): Promise<Revocations | undefined> {
    try {
      return await this.#revocations?.value();
    } catch (cause) {
      if (this.#options.withoutRevocations === "open") return undefined;
      throw new TokenRefused("revocations_unavailable", { cause });
    }
  }

  async #readRevocations(jwt: string): Promise<Revocations> {
    const read = async () =>
      readRevocations(jwt, await this.#keys.value(), this.#options.issuer, new Date(this.#now()));
    return read().catch(async (error: unknown) => {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      await this.#keys.refresh(this.#unknownKeyPauseMs);
      return read();
    });
  }
}

/** The members of the header, which are NOT verified yet. */
function headerOf(token: string): { kid: string | undefined; typ: unknown } {
  let header: Readonly<Record<string, unknown>>;
  try {
    const text = atob(token.slice(0, token.indexOf(".")).replaceAll("-", "+").replaceAll("_", "/"));
    header = JSON.parse(text) as Record<string, unknown>;
  } catch (cause) {
    throw new TokenRefused("malformed", { cause });
  }
  // A critical extension must be understood or refused (RFC 7515 section 4.1.11), and none is understood.
  if ("crit" in header) throw new TokenRefused("type");
  const { kid, typ } = header;
  return { kid: typeof kid === "string" ? kid : undefined, typ };
}

/** RFC 7515 section 4.1.9: `application/` may be missing, and the type is not case-sensitive. */
const typeName = (typ: unknown) =>
  String(typ)
    .toLowerCase()
    .replace(/^application\//, "");

/** Translates an error of jose. */
function refusalOf(error: unknown): TokenRefused {
  return new TokenRefused(codeOf(error), { cause: error });
}

function codeOf(error: unknown): RefusalCode {
  if (error instanceof errors.JWTExpired) return "expired";
  if (error instanceof errors.JWTClaimValidationFailed) {
    const { claim, reason } = error;
    if (claim === "iss") return "issuer";
    if (claim === "aud") return "audience";
    return claim === "nbf" && reason === "check_failed" ? "not_yet_valid" : "claims";
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) return "signature";
  if (error instanceof errors.JOSEAlgNotAllowed) return "algorithm";
  if (error instanceof errors.JOSENotSupported) return "type";
  if (error instanceof errors.JWKSNoMatchingKey) return "unknown_key";
  return "malformed";
}

/** A variable that is not set shows at the start, not by the refusal of every token. */
function requireTexts({ issuer, audience, types, withoutRevocations }: VerifierOptions): void {
  const isText = (value: unknown) => typeof value === "string" && value !== "";
  const areTexts = (values: readonly unknown[]) => values.length > 0 && values.every(isText);
  if (!isText(issuer)) throw new TypeError("issuer must be a text that is not empty");
  if (audience !== undefined && !areTexts([audience].flat())) {
    throw new TypeError("audience must be a text that is not empty, or a list of such texts");
  }
  if (types !== undefined && !areTexts(types)) throw new TypeError("types must be a list of texts");
  if (!["open", "closed", undefined].includes(withoutRevocations)) {
    throw new TypeError('withoutRevocations must be "open" or "closed"');
  }
}

function inRange(name: string, value: number, min: number, max: number): number {
  if (typeof value !== "number" || !(value >= min && value <= max)) {
    throw new RangeError(`${name} must be a number from ${min} to ${max}`);
  }
  return value;
}
