/**
 * The RPC surface: Connect, gRPC and gRPC-Web, as a handler of one HTTP request. Depends on auth, gen
 * and Connect.
 */
import type { IncomingHttpHeaders } from "node:http";
import {
  Code,
  cors,
  ConnectError,
  type ConnectRouter,
  createConnectRouter,
  createContextKey,
  createContextValues,
  type Interceptor,
} from "@connectrpc/connect";
import {
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import {
  createAsyncIterable,
  type UniversalHandler,
  type UniversalServerRequest,
  type UniversalServerResponse,
} from "@connectrpc/connect/protocol";
import { AuthError } from "../auth/errors.js";
import type { AuthService as Service } from "../auth/service.js";
import { BodyTooLarge, readBody, send, type Answer, type Exchange } from "../server/exchange.js";
import { AuthService } from "../../gen/auth/v1/auth_pb.js";
import { Health } from "../../gen/grpc/health/v1/health_pb.js";
import { createAuthServiceImpl } from "./auth-service.js";
import { exchangeKey } from "./context.js";
import { toConnectError } from "./errors.js";
import { createHealthImpl, type Readiness } from "./health.js";
import { reflectionRoutes } from "./reflection.js";
import {
  compressionHeader,
  compressions,
  emptyBody,
  envelopeBytes,
  framingOf,
  keepByteOrderMarks,
  messageBytesMax,
  readUnaryMessage,
  tooLarge,
  type Framing,
} from "./unary.js";

export interface RpcHandler {
  /** Whether a path names a served rpc. */
  serves(path: string): boolean;
  /** Answers the request; the path may be one that is not served. */
  handle(exchange: Exchange, path: string): Promise<void>;
}

export interface RpcOptions {
  readonly routes: (router: ConnectRouter) => void;
  /** Told of every error that the caller sees as `internal`. */
  readonly onFault: (error: unknown, requestId: string) => void;
}

export function authRoutes(service: Service, readiness: Readiness): RpcOptions["routes"] {
  return (router) => {
    router.service(AuthService, createAuthServiceImpl(service));
    router.service(Health, createHealthImpl(readiness));
    reflectionRoutes(router, [AuthService, Health]);
  };
}

/** Found before Connect was asked; raised by the first interceptor, so that Connect encodes it. */
const faultKey = createContextKey<ConnectError | undefined>(undefined);

export function createRpcHandler({ routes, onFault }: RpcOptions): RpcHandler {
  keepByteOrderMarks();
  const router = createConnectRouter({
    interceptors: [raiseFaults, createErrorInterceptor(onFault)],
    acceptCompression: compressions,
    // Tokens do not compress, and compressing secrets beside chosen text gives them away (BREACH).
    compressMinBytes: Number.MAX_SAFE_INTEGER,
    readMaxBytes: messageBytesMax,
  });
  routes(router);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));

  return {
    serves: (path) => handlers.has(path),
    async handle(exchange, path) {
      const handler = handlers.get(path);
      if (handler === undefined) {
        send(exchange, unimplemented(exchange.req.headers["content-type"]));
        return;
      }
      const framing = framingOf(exchange.req.headers["content-type"]);
      if (handler.method.methodKind === "unary" && framing !== undefined) {
        const response = await handler(await readUnaryRequest(handler, framing, exchange));
        send(exchange, await toAnswer(response));
      } else {
        const { req, res } = exchange;
        const values = contextOf(exchange);
        const response = await handler(
          universalRequestFromNodeRequest(req, res, undefined, values),
        );
        await universalResponseToNodeResponse(response, res);
      }
    },
  };
}

const raiseFaults: Interceptor = (next) => (request) => {
  const fault = request.contextValues.get(faultKey);
  if (fault !== undefined) throw fault;
  return next(request);
};

/** Turns what the use cases throw into what the caller sees, and ends the wait at its deadline. */
function createErrorInterceptor(onFault: RpcOptions["onFault"]): Interceptor {
  return (next) => async (request) => {
    const exchange = request.contextValues.get(exchangeKey);
    const requestId = exchange?.requestId ?? "";
    try {
      const response = await Promise.race([next(request), aborted(request.signal)]);
      if (exchange) exchange.outcome = "ok";
      return response;
    } catch (error) {
      if (error instanceof ConnectError) throw error;
      const ours = AuthError.from(error);
      if (exchange) exchange.outcome = ours.code;
      if (ours.code === "internal") onFault(error, requestId);
      throw toConnectError(ours, requestId);
    }
  };
}

/** Never resolves; rejects with Connect's reason: a deadline that passed or a client that left. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const onAbort = () => reject(ConnectError.from(signal.reason));
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
}

function contextOf(exchange: Exchange, fault?: ConnectError) {
  return createContextValues().set(exchangeKey, exchange).set(faultKey, fault);
}

/**
 * The request as Connect takes it. One at fault becomes an empty one of the same kind that carries
 * the fault, and none of the headers that Connect would judge by itself.
 */
async function readUnaryRequest(
  handler: UniversalHandler,
  framing: Framing,
  exchange: Exchange,
): Promise<UniversalServerRequest> {
  const { req, res } = exchange;
  const header = toHeaders(req.headers);
  const abort = new AbortController();
  res.once("close", () => abort.abort(new ConnectError("the client is gone", Code.Canceled)));
  const request = { httpVersion: req.httpVersion, method: req.method ?? "", url: anyUrl, header };
  try {
    const body = await readBody(req, messageBytesMax + (framing.enveloped ? envelopeBytes : 0));
    checkTimeout(header, framing);
    const encoding = header.get(compressionHeader(framing)) ?? undefined;
    await readUnaryMessage(handler.method.input, framing, encoding, body);
    return {
      ...request,
      body: createAsyncIterable([body]),
      signal: abort.signal,
      contextValues: contextOf(exchange),
    };
  } catch (error) {
    const fault = error instanceof BodyTooLarge ? tooLarge() : error;
    if (!(fault instanceof ConnectError)) throw error;
    for (const name of [
      "content-encoding",
      "content-length",
      "grpc-encoding",
      timeoutHeader(framing),
    ]) {
      header.delete(name);
    }
    return {
      ...request,
      body: createAsyncIterable([emptyBody(framing)]),
      signal: abort.signal,
      contextValues: contextOf(exchange, fault),
    };
  }
}

/** Headers that browsers need to be told of. */
export const corsHeaders = {
  allowedHeaders: [...cors.allowedHeaders, "Authorization", "X-Request-Id"],
  exposedHeaders: [...cors.exposedHeaders, "Retry-After", "X-Request-Id"],
};

/** Connect wants an absolute URL, but looks at its query alone, and only for GET. */
const anyUrl = "http://localhost/";

function toHeaders(headers: IncomingHttpHeaders): Headers {
  const result = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(":") || value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) result.append(name, one);
  }
  return result;
}

const timeoutHeader = ({ enveloped }: Framing) =>
  enveloped ? "grpc-timeout" : "connect-timeout-ms";
const hoursMax = 500;

/** Refuses a malformed deadline without quoting it, and drops one beyond what a timer can hold. */
function checkTimeout(header: Headers, framing: Framing): void {
  const name = timeoutHeader(framing);
  const value = header.get(name);
  if (value === null) return;
  const [, amount, unit] =
    (framing.enveloped ? /^(\d{1,8})([HMSmun])$/ : /^(\d{1,10})$/).exec(value) ?? [];
  if (amount === undefined) {
    throw new ConnectError(`malformed ${name}`, Code.InvalidArgument);
  }
  const perHour = { H: 1, M: 60, S: 3600, m: 3.6e6, u: 3.6e9, n: 3.6e12 };
  if (Number(amount) / perHour[(unit ?? "m") as keyof typeof perHour] > hoursMax)
    header.delete(name);
}

async function toAnswer(response: UniversalServerResponse): Promise<Answer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of response.body ?? []) chunks.push(chunk);
  return {
    status: response.status,
    headers: Object.fromEntries(response.header ?? []),
    body: Buffer.concat(chunks),
    ...(response.trailer && { trailers: Object.fromEntries(response.trailer) }),
  };
}

/** An rpc that is not there, in the caller's own protocol. */
function unimplemented(contentType: string | undefined): Answer {
  const message = "no such rpc";
  if (framingOf(contentType)?.enveloped) {
    const headers = {
      "content-type": contentType,
      "grpc-status": String(Code.Unimplemented),
      "grpc-message": message,
    };
    return { status: 200, headers };
  }
  return {
    status: 404,
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ code: "unimplemented", message }),
  };
}
