/**
 * Handles every HTTP request: request id, CORS, route or rpc, access log. Every error ends here in
 * an answer that reveals nothing. Depends on its neighbours and on node.
 */
import { randomUUID } from "node:crypto";
import { requestBytesMax } from "../auth/limits.js";
import { BodyTooLarge, ClientGone, Room } from "./body.js";
import { acceptedEncodings, UnsupportedEncoding } from "./compressed-body.js";
import {
  send,
  type Answer,
  Exchange,
  type NodeRequest,
  type NodeResponse,
  type OnFault,
} from "./exchange.js";
import type { RefusedRequest } from "./connections.js";
import type { ListenerRefusal, Route } from "./route.js";
import type { TraceIds } from "./trace-context.js";

/** One line of the access log. It holds no free text of the client. */
export interface AccessEntry extends Partial<TraceIds> {
  readonly requestId: string;
  /** The path of a served route, else `unknown`. */
  readonly route: string;
  readonly method: string;
  readonly httpVersion: string;
  readonly status: number;
  /** `ok`, a domain code, or `aborted` by the client; undefined if no use case was called. */
  readonly outcome: string | undefined;
  readonly durationMs: number;
}

export interface HandlerOptions {
  readonly routes: readonly Route[];
  /** Answers every request that is not for a route. */
  readonly rpc: {
    serves(path: string): boolean;
    handle(exchange: Exchange, path: string): Promise<void>;
  };
  /** The origins whose pages may call. */
  readonly corsOrigins: readonly string[];
  readonly cors: () => Promise<CorsHeaders>;
  readonly clientAddressOf: (req: NodeRequest) => string;
  readonly onAccess: (entry: AccessEntry) => void;
  readonly onFault: OnFault;
}

/** The header names for `Access-Control-Allow-Headers` and `Access-Control-Expose-Headers`. */
export interface CorsHeaders {
  readonly allowedHeaders: readonly string[];
  readonly exposedHeaders: readonly string[];
}

export interface RefusalOptions extends Pick<HandlerOptions, "routes" | "corsOrigins"> {
  readonly refuseRpc: (
    path: string,
    contentType: string | undefined,
    status: ListenerRefusal,
  ) => Answer | undefined;
  readonly exposedHeaders: () => readonly string[];
}

/** Puts the listener's refusals into the shape of each path: see Connections. */
export function createRefusals(
  options: RefusalOptions,
): (request: RefusedRequest, status: ListenerRefusal) => Answer | undefined {
  const routes = new Map(options.routes.map((route) => [route.path, route]));
  return ({ url = "", headers: { origin = "", "content-type": contentType } }, status) => {
    const path = url.split("?", 1)[0] ?? "";
    const route = routes.get(path);
    const answer = route?.refuse(status) ?? options.refuseRpc(path, contentType, status);
    if (answer === undefined) return undefined;
    const headers = {
      ...answer.headers,
      ...(status === 429 && { "retry-after": "1" }),
      ...(route?.isPublic
        ? publicCors
        : options.corsOrigins.includes(origin) && corsOf(origin, options.exposedHeaders())),
    };
    return { ...answer, headers };
  };
}

/** What lets a page of an origin read an answer. */
const corsOf = (origin: string, exposedHeaders: readonly string[]) => ({
  "access-control-allow-origin": origin,
  "access-control-expose-headers": exposedHeaders.join(", "),
});
const publicCors = corsOf("*", ["ETag", "X-Request-Id"]);

export function createRequestHandler(
  options: HandlerOptions,
): (req: NodeRequest, res: NodeResponse) => void {
  const routes = new Map(options.routes.map((route) => [route.path, route]));
  const room = new Room();

  async function handle(exchange: Exchange, path: string): Promise<void> {
    const route = routes.get(path);
    if (route?.isPublic) {
      if (answerPublicCors(exchange, route)) return;
    } else if (options.corsOrigins.length > 0 && (await answerCors(exchange, options))) return;
    if (route === undefined) await options.rpc.handle(exchange, path);
    else send(exchange, await answerRoute(route, exchange));
  }

  async function answerRoute(route: Route, exchange: Exchange): Promise<Answer> {
    const { req } = exchange;
    const { method = "" } = req;
    if (!route.methods.includes(method)) {
      const { headers, ...answer } = route.refuse(405);
      return { ...answer, headers: { ...headers, allow: route.methods.join(", ") } };
    }
    try {
      const body = await exchange.readBody(requestBytesMax);
      const answer = await route.handle({
        method,
        headers: req.headers,
        body,
        caller: exchange,
        req,
      });
      // A forwarded answer may be a refusal of the other server.
      if (answer.status < 400) exchange.outcome = "ok";
      return answer;
    } catch (error) {
      if (error instanceof ClientGone) throw error;
      if (error instanceof BodyTooLarge) return route.refuse(413);
      if (error instanceof UnsupportedEncoding) {
        const { headers, ...answer } = route.refuse(415);
        return { ...answer, headers: { ...headers, "accept-encoding": acceptedEncodings } };
      }
      return route.fail(exchange.fail(error, options.onFault));
    }
  }

  return (req, res) => {
    const start = performance.now();
    const path = pathOf(req);
    const exchange = new Exchange(req, res, requestIdOf(req), options.clientAddressOf(req), room);
    // Two `Authorization` headers count as none: node would take the first.
    if (isRepeated("authorization", req.rawHeaders)) delete req.headers.authorization;
    res.once("close", () => {
      exchange.release();
      options.onAccess({
        requestId: exchange.requestId,
        route: routes.has(path) || options.rpc.serves(path) ? path : "unknown",
        method: methods.has(req.method ?? "") ? (req.method ?? "") : "other",
        httpVersion: req.httpVersion,
        status: res.statusCode,
        outcome: exchange.outcome ?? (res.headersSent ? undefined : "aborted"),
        durationMs: Math.round((performance.now() - start) * 1000) / 1000,
        ...exchange.traceIds,
      });
    });
    const release = () => exchange.release();
    handle(exchange, path).then(release, (error: unknown) => {
      release();
      if (error instanceof ClientGone || hasLeft(res)) return;
      options.onFault(error, exchange.requestId);
      if (res.headersSent) res.destroy();
      else send(exchange, { status: 500 });
    });
  };
}

/**
 * `OPTIONS *` asks about the whole server (RFC 9110 section 9.3.7) and is answered as `OPTIONS /`.
 */
function pathOf({ method, url = "" }: NodeRequest): string {
  return method === "OPTIONS" && url === "*" ? "/" : (url.split("?", 1)[0] ?? "");
}

/** Whether the client has left. Node's Http2ServerResponse has no `destroyed`. */
function hasLeft(res: NodeResponse): boolean {
  return ("stream" in res ? res.stream : res).destroyed;
}

/** @param rawHeaders names and values in turn */
function isRepeated(name: string, rawHeaders: readonly string[]): boolean {
  let count = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const header = rawHeaders[i];
    if (header?.length === name.length && header.toLowerCase() === name) count++;
  }
  return count > 1;
}

const methods = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

/**
 * Keeps the caller's id if it is harmless, so that a caller can follow a request through its
 * services.
 */
function requestIdOf({ headers }: NodeRequest): string {
  const given = headers["x-request-id"];
  return typeof given === "string" && /^[\w.\-]{1,128}$/.test(given) ? given : randomUUID();
}

const isPreflight = ({ method, headers }: NodeRequest) =>
  method === "OPTIONS" && headers["access-control-request-method"] !== undefined;

/**
 * Adds the headers for a listed origin. Returns true if the request was a preflight and is
 * answered.
 */
async function answerCors(exchange: Exchange, options: HandlerOptions): Promise<boolean> {
  const { req, headers } = exchange;
  headers.vary = "origin";
  const { origin } = req.headers;
  if (origin === undefined || !options.corsOrigins.includes(origin)) return false;
  const { allowedHeaders, exposedHeaders } = await options.cors();
  Object.assign(headers, corsOf(origin, exposedHeaders));
  if (isPreflight(req)) {
    send(exchange, {
      status: 204,
      headers: {
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": allowedHeaders.join(", "),
        "access-control-max-age": "7200",
      },
    });
    return true;
  }
  return false;
}

/** The same for documents that every origin may read. */
function answerPublicCors(exchange: Exchange, { methods }: Route): boolean {
  const { req, headers } = exchange;
  Object.assign(headers, publicCors);
  if (!isPreflight(req)) return false;
  const allowed = {
    "access-control-allow-methods": methods.join(", "),
    "access-control-allow-headers": "*",
    "access-control-max-age": "7200",
  };
  send(exchange, { status: 204, headers: allowed });
  return true;
}
