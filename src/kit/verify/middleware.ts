/**
 * Requires a token in HTTP requests and answers by RFC 6750 section 3: 401 without a valid one, 403 if it lacks a
 * role, 503 if it cannot be checked. Depends only on the interfaces of node:http.
 */
import type { TokenRefused } from "./refusal.js";
import type { Claims } from "./claims.js";

export interface MiddlewareOptions {
  /** Roles of which the user must have one; without this option any user may pass, with an empty list none. */
  readonly roles?: readonly string[];
  /** Called for each refusal; the client sees only the answer. Default none. */
  readonly onRefused?: (refusal: TokenRefused) => void;
}

/** The part of a request that is used: node:http's, Express's, Fastify's. */
interface Request {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** The part of node:http's and Express's response that is used. */
interface Response {
  statusCode: number;
  setHeader(name: string, value: string): unknown;
  end(): unknown;
}

/** The part of Fastify's reply that is used. */
interface Reply {
  code(statusCode: number): unknown;
  headers(headers: Readonly<Record<string, string>>): unknown;
  send(): unknown;
}

/** Calls `next` if the token is valid, else answers. Resolves after either. */
export type Middleware = (request: Request, response: Response, next: () => void) => Promise<void>;

/** For Fastify's `onRequest`: answers if the token is not valid. */
export type FastifyHook = (request: Request, reply: Reply) => Promise<unknown>;

interface Refusal {
  readonly statusCode: 401 | 403 | 503;
  readonly headers: Readonly<Record<string, string>>;
}

interface Verifies {
  verify(token: string): Promise<Claims>;
}

const verified = new WeakMap<object, Claims>();

/** The claims of a request that a middleware has accepted. @throws TypeError for any other request */
export function claimsOf(request: object): Claims {
  const claims = verified.get(request);
  if (claims === undefined) throw new TypeError("no middleware has verified this request");
  return claims;
}

export function createMiddleware(verifier: Verifies, options?: MiddlewareOptions): Middleware {
  return async (request, response, next) => {
    const refusal = await refusalOf(request, verifier, options);
    if (refusal === undefined) {
      next();
      return;
    }
    response.statusCode = refusal.statusCode;
    for (const [name, value] of Object.entries(refusal.headers)) response.setHeader(name, value);
    response.end();
  };
}

export function createFastifyHook(verifier: Verifies, options?: MiddlewareOptions): FastifyHook {
  return async (request, reply) => {
    const refusal = await refusalOf(request, verifier, options);
    if (refusal === undefined) return undefined;
    reply.code(refusal.statusCode);
    reply.headers(refusal.headers);
    return reply.send();
  };
}

/** Undefined if the request may pass; then its claims are stored. */
async function refusalOf(
  request: Request,
  verifier: Verifies,
  { roles, onRefused }: MiddlewareOptions = {},
): Promise<Refusal | undefined> {
  const token = bearerTokenOf(request.headers["authorization"]);
  if (token === undefined) return unauthorized("Bearer");
  let claims: Claims;
  try {
    claims = await verifier.verify(token);
  } catch (error) {
    const refusal = error as TokenRefused;
    onRefused?.(refusal);
    return refusal.isOutage
      ? { statusCode: 503, headers: { "retry-after": "5" } }
      : unauthorized('Bearer error="invalid_token"');
  }
  if (!hasRole(claims, roles)) {
    const headers = { "www-authenticate": 'Bearer error="insufficient_scope"' };
    return { statusCode: 403, headers };
  }
  verified.set(request, claims);
  return undefined;
}

const unauthorized = (challenge: string): Refusal => ({
  statusCode: 401,
  headers: { "www-authenticate": challenge },
});

/** Whether the user has one of the roles; true if none are required. */
export const hasRole = (claims: Claims, roles: readonly string[] | undefined): boolean =>
  roles === undefined || roles.some((role) => claims.roles.includes(role));

/** The token by RFC 6750 section 2.1; the scheme is not case-sensitive (RFC 9110 section 11.1). */
export function bearerTokenOf(authorization: unknown): string | undefined {
  if (typeof authorization !== "string") return undefined;
  return /^bearer +([\w.~+/-]+=*)$/i.exec(authorization)?.[1];
}
