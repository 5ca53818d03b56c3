/**
 * The RPC surface: handles an HTTP request of Connect, gRPC or gRPC-Web. Depends on auth, the HTTP
 * exchange, gen and Connect.
 */
import { setMaxListeners } from "node:events";
import type { IncomingHttpHeaders } from "node:http";
import type { DescMethod, DescMethodUnary } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type ConnectRouter,
  cors,
  createConnectRouter,
  createContextValues,
  type Interceptor,
} from "@connectrpc/connect";
import {
  compressionBrotli,
  compressionGzip,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import {
  createAsyncIterable,
  createMethodUrl,
  type UniversalHandler,
  type UniversalServerRequest,
  type UniversalServerResponse,
} from "@connectrpc/connect/protocol";
import { codeToHttpStatus, errorToJsonBytes } from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { AuthError } from "../auth/errors.js";
import { requestBytesMax } from "../auth/limits.js";
import type { AuthService as Service } from "../auth/service.js";
import { BodyTooLarge, ClientGone } from "../server/body.js";
import { send, type Answer, type Exchange, type OnFault } from "../server/exchange.js";
import type { CorsHeaders } from "../server/handler.js";
import type { ListenerRefusal } from "../server/route.js";
import { AuthService } from "../../gen/auth/v1/auth_pb.js";
import { Health } from "../../gen/grpc/health/v1/health_pb.js";
import { createAuthServiceImpl } from "./auth-service.js";
import { exchangeKey, exchangeOf, urlOf, webHeadersOf } from "./context.js";
import { envelopeBytes, readEnvelopes, tooLarge } from "./envelopes.js";
import { toConnectError } from "./errors.js";
import { binaryTypeOf, decodeText, encodeEach, textBytesMax, textTypeOf } from "./grpc-web-text.js";
import { createHealthImpl, type Readiness } from "./health.js";
import { reflectionRoutes } from "./reflection.js";
import {
  answerUnary,
  framingOf,
  keepByteOrderMarks,
  type Framing,
  type UnaryRpc,
} from "./unary.js";

export interface RpcHandler {
  /** The path of every served rpc. */
  readonly paths: readonly string[];
  /** Whether a path names a served rpc. */
  serves(path: string): boolean;
  /** Answers a request, also on a path that is not served. */
  handle(exchange: Exchange, path: string): Promise<void>;
  readonly corsHeaders: CorsHeaders;
  /** The answer to a request that the listener refuses; undefined if it is not for an rpc. */
  refuse(
    path: string,
    contentType: string | undefined,
    status: ListenerRefusal,
  ): Answer | undefined;
  /**
   * Ends the present streaming rpcs, and later ones at once, so that a shutdown does not wait for
   * them.
   */
  endStreams(): void;
}

export interface RpcOptions {
  readonly routes: (router: ConnectRouter) => void;
  readonly onFault: OnFault;
  /** Whether `rpc/unary.ts` answers unary rpcs; if false, Connect does. Default true. */
  readonly fastUnary?: boolean;
}

export function authRoutes(
  service: Service,
  readiness: Readiness,
  { reflection }: { readonly reflection: boolean },
): RpcOptions["routes"] {
  return (router) => {
    router.service(AuthService, createAuthServiceImpl(service));
    router.service(Health, createHealthImpl(readiness));
    if (reflection) reflectionRoutes(router, [AuthService, Health]);
  };
}

export function createRpcHandler(options: RpcOptions): RpcHandler {
  const { routes, onFault, fastUnary = true } = options;
  const shutdown = new AbortController();
  // Each stream adds a listener, and node warns from eleven on.
  setMaxListeners(0, shutdown.signal);
  keepByteOrderMarks();
  const router = createConnectRouter({
    interceptors: [createErrorInterceptor(onFault)],
    acceptCompression: [compressionGzip, compressionBrotli],
    // Answers are never compressed: compressing a secret beside chosen text reveals it (BREACH),
    // and tokens do not compress.
    compressMinBytes: Number.MAX_SAFE_INTEGER,
    readMaxBytes: requestBytesMax,
    shutdownSignal: shutdown.signal,
  });
  const unaryRpcs = new Map<string, UnaryRpc>();
  routes(collectUnaryRpcs(router, unaryRpcs));
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));

  return {
    paths: [...handlers.keys()],
    serves: (path) => handlers.has(path),
    corsHeaders,
    refuse(path, contentType, status) {
      const framing = framingOf(contentType);
      if (!handlers.has(path) && framing === undefined) return undefined;
      // Headers that are too large on this path mean an over-long credential.
      if (status === 431 && path === issueTokenPath) return refusal(framing, badCredential, 401);
      const answer = refusal(framing, listenerRefusals[status], status);
      // RFC 9112 demands the status for what is no HTTP, from gRPC clients as well.
      return status === 400 || status === 417 || status === 501 ? { ...answer, status } : answer;
    },
    endStreams: () => shutdown.abort(new ConnectError("the server shuts down", Code.Unavailable)),
    async handle(exchange, path) {
      const { req } = exchange;
      unquoteCharset(req.headers);
      const handler = handlers.get(path);
      const framing = framingOf(req.headers["content-type"]);
      if (handler === undefined) {
        send(exchange, refusal(framing, noSuchRpc, 404));
        return;
      }
      const shown = (error: unknown) => explain(error, exchange, onFault);
      let body = bodyFor(handler, framing, exchange, shown);
      const unary = fastUnary ? unaryRpcs.get(path) : undefined;
      if (unary !== undefined && framing !== undefined && req.method === "POST") {
        const answer = await answerUnary(unary, framing, exchange, shown);
        if (!("leftToConnect" in answer)) {
          send(exchange, answer);
          return;
        }
        body = createAsyncIterable([answer.leftToConnect]);
      }
      const response = await handler(toUniversalRequest(exchange, body, framing));
      if (response.status === 405) exchange.headers.allow = handler.allowedMethods.join(", ");
      await respond(exchange, framing?.text ? inText(response) : response);
    },
  };
}

/** `charset="utf-8"` is the same as `charset=utf-8` (RFC 9110 section 5.6.6); Connect reads only the latter. */
function unquoteCharset(headers: IncomingHttpHeaders): void {
  const type = headers["content-type"];
  if (type?.includes('"')) headers["content-type"] = type.replace(/(charset=)"([\w-]+)"$/i, "$1$2");
}

/** The body of a request for Connect to read, bounded. */
function bodyFor(
  { method }: UniversalHandler,
  framing: Framing | undefined,
  exchange: Exchange,
  shown: (error: unknown) => ConnectError,
): AsyncIterable<Uint8Array> {
  if (framing?.text) return readWhole(exchange, textBytesMax, shown, decodeText);
  if (!isUnary(method)) return readEnvelopes(exchange, shown);
  return readWhole(exchange, requestBytesMax + envelopeBytes, shown, (body) => body);
}

/**
 * Reading starts at the first `next`: a request that Connect refuses by its headers is never read.
 */
async function* readWhole(
  exchange: Exchange,
  bytesMax: number,
  shown: (error: unknown) => ConnectError,
  decode: (body: Uint8Array) => Uint8Array,
) {
  try {
    yield decode(await exchange.readBody(bytesMax));
  } catch (error) {
    if (error instanceof BodyTooLarge) throw tooLarge();
    if (error instanceof ClientGone) throw new ConnectError("the client left", Code.Canceled);
    throw error instanceof ConnectError ? error : shown(error);
  }
}

/** Encodes an answer of gRPC-Web in its text format. */
function inText({ header, body, ...response }: UniversalServerResponse): UniversalServerResponse {
  const headers = new Headers(header);
  headers.set("content-type", textTypeOf(headers.get("content-type") ?? ""));
  return { ...response, header: headers, ...(body && { body: encodeEach(body) }) };
}

/**
 * Whether an implementation has set headers. grpc-go would take them for trailers in an answer of
 * headers alone ("Trailers-Only").
 */
function hasOwnHeaders(header: Headers | undefined): boolean {
  return [...(header?.keys() ?? [])].some((name) => !/^(content-type|grpc-encoding)$/.test(name));
}

/**
 * Writes Connect's answer. An answer of gRPC without messages is sent as headers alone
 * ("Trailers-Only").
 */
async function respond(exchange: Exchange, response: UniversalServerResponse): Promise<void> {
  const { status, header, body, trailer } = response;
  const pieces = body?.[Symbol.asyncIterator]();
  const first = await pieces?.next();
  if (trailer !== undefined && first?.done !== false && !hasOwnHeaders(header)) {
    const headers = Object.fromEntries([...(header ?? []), ...trailer]);
    send(exchange, { status, headers });
    return;
  }
  for (const [name, value] of Object.entries(exchange.headers)) {
    if (value !== undefined) exchange.res.setHeader(name, value);
  }
  const rest = pieces && first && resume(first, pieces);
  await universalResponseToNodeResponse({ ...response, ...(rest && { body: rest }) }, exchange.res);
}

/** The iteration whose first result was read ahead. */
function resume<T>(first: IteratorResult<T>, rest: AsyncIterator<T>): AsyncIterable<T> {
  let isFirst = true;
  const next = () => {
    if (!isFirst) return rest.next();
    isFirst = false;
    return Promise.resolve(first);
  };
  return { [Symbol.asyncIterator]: () => ({ ...bound(rest), next }) };
}

/** The methods by which a reader ends an iteration early. */
function bound<T>(iterator: AsyncIterator<T>): Pick<AsyncIterator<T>, "return" | "throw"> {
  return {
    ...(iterator.return && { return: iterator.return.bind(iterator) }),
    ...(iterator.throw && { throw: iterator.throw.bind(iterator) }),
  };
}

/** Converts the request for Connect. */
function toUniversalRequest(
  exchange: Exchange,
  body: AsyncIterable<Uint8Array>,
  framing: Framing | undefined,
): UniversalServerRequest {
  const { req, res } = exchange;
  const header = webHeadersOf(req.headers);
  if (framing?.text) header.set("content-type", binaryTypeOf(header.get("content-type") ?? ""));
  const gone = new AbortController();
  res.once("close", () => gone.abort(new ConnectError("the client left", Code.Canceled)));
  return {
    httpVersion: req.httpVersion,
    method: req.method ?? "",
    url: urlOf(exchange),
    header,
    body,
    signal: gone.signal,
    contextValues: createContextValues().set(exchangeKey, exchange),
  };
}

/** A router that also collects the unary rpcs, by path, with their implementations. */
function collectUnaryRpcs(router: ConnectRouter, rpcs: Map<string, UnaryRpc>): ConnectRouter {
  return {
    handlers: router.handlers,
    service(service, implementation, options) {
      router.service(service, implementation, options);
      const calls = implementation as Readonly<Record<string, UnaryRpc["call"] | undefined>>;
      for (const method of service.methods) {
        const call = calls[method.localName];
        if (!isUnary(method) || call === undefined) continue;
        rpcs.set(createMethodUrl("/", method), {
          method,
          jsonOptions: options?.jsonOptions,
          call: call.bind(implementation),
        });
      }
      return this;
    },
    rpc(method, implementation, options) {
      router.rpc(method, implementation, options);
      return this;
    },
  };
}

const isUnary = (method: DescMethod): method is DescMethodUnary => method.methodKind === "unary";

/** The error that the caller sees. */
function explain(error: unknown, exchange: Exchange, onFault: OnFault): ConnectError {
  return toConnectError(exchange.fail(error, onFault), exchange.requestId);
}

function createErrorInterceptor(onFault: OnFault): Interceptor {
  return (next) => async (request) => {
    const shown = (error: unknown) =>
      error instanceof ConnectError
        ? error
        : explain(error, exchangeOf(request.contextValues), onFault);
    try {
      const response = await next(request);
      if (!response.stream) return response;
      return { ...response, message: withErrors(response.message, shown) };
    } catch (error) {
      throw shown(error);
    }
  };
}

/** A stream may throw long after the interceptor has returned. */
async function* withErrors<T>(messages: AsyncIterable<T>, shown: (error: unknown) => ConnectError) {
  try {
    yield* messages;
  } catch (error) {
    throw shown(error);
  }
}

const corsHeaders: CorsHeaders = {
  allowedHeaders: [
    ...cors.allowedHeaders,
    ...["Authorization", "If-None-Match", "Traceparent", "Tracestate", "X-Request-Id"],
  ],
  exposedHeaders: [...cors.exposedHeaders, "ETag", "Retry-After", "X-Request-Id"],
};

const noSuchRpc = new ConnectError("no such rpc", Code.Unimplemented);

const issueTokenPath = createMethodUrl("/", AuthService.method.issueToken);
const badCredential = toConnectError(new AuthError("invalid_credentials", "over-long"), "");

/** The errors of the listener's refusals, by their HTTP status. */
const listenerRefusals = {
  400: new ConnectError("the request is malformed", Code.InvalidArgument),
  408: new ConnectError("the request took too long to come", Code.DeadlineExceeded),
  413: new ConnectError("the request is too large", Code.ResourceExhausted),
  417: new ConnectError("the expectation cannot be met", Code.InvalidArgument),
  429: new ConnectError("too many requests were given up, try again later", Code.ResourceExhausted),
  431: new ConnectError("the headers are too large", Code.ResourceExhausted),
  501: new ConnectError("the transfer coding is not supported", Code.Unimplemented),
} as const satisfies Record<ListenerRefusal, ConnectError>;

/**
 * Example answers for the OpenAPI document: a domain error, and a body that is too large, in
 * Connect's JSON.
 */
export const connectAnswers = {
  toError: (error: AuthError) => plainAnswer(toConnectError(error, exampleRequestId)),
  toLargeMessage: () => plainAnswer(tooLarge()),
  /** The answer of the listener's refusal. */
  toRefusal: (status: ListenerRefusal) => refusal(undefined, listenerRefusals[status], status),
};
const exampleRequestId = "0b0a7d0e-1b7c-4a53-9b1f-6d2f6f3a5c11";

function plainAnswer(error: ConnectError): Answer {
  const { headers, ...answer } = refusal(undefined, error, codeToHttpStatus(error.code));
  return { ...answer, headers: { ...headers, ...Object.fromEntries(error.metadata) } };
}

/**
 * An error in the protocol of the caller.
 * @param status the HTTP status in Connect's protocol
 */
function refusal(framing: Framing | undefined, error: ConnectError, status: number): Answer {
  if (framing !== undefined && framing.protocol !== "connect") {
    const headers = {
      "content-type": `application/${framing.protocol}${framing.text ? "-text" : ""}`,
      ...Object.fromEntries(setTrailerStatus(new Headers(), error)),
    };
    return { status: 200, headers };
  }
  return {
    status,
    headers: { "content-type": "application/json" },
    body: errorToJsonBytes(error, undefined),
  };
}
