/**
 * One HTTP request and its answer, alike for HTTP/1.1 and HTTP/2. Depends on auth's errors and on node.
 */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import { AuthError } from "../auth/errors.js";
import type { TraceIds } from "../auth/gate/gate.js";
import { traceIdsOf } from "./trace-context.js";

export type NodeRequest = IncomingMessage | Http2ServerRequest;
export type NodeResponse = ServerResponse | Http2ServerResponse;

/** Told of every error that the caller sees as `internal`. */
export type OnFault = (error: unknown, requestId: string) => void;

/** What every surface gets to know of a request beside the request itself. */
export class Exchange {
  /** Those of every answer; `send` adds the answer's own. */
  readonly headers: OutgoingHttpHeaders;
  /** How a use case ended: `ok` or a domain code; undefined while none was reached. */
  outcome: string | undefined;
  #abort: AbortController | undefined;

  constructor(
    readonly req: NodeRequest,
    readonly res: NodeResponse,
    /** Also in the answer's `x-request-id`. */
    readonly requestId: string,
    /** Of the client, as far as it can be told: see client-address. */
    readonly clientAddress: string,
  ) {
    this.headers = { "x-request-id": requestId };
  }

  /** The error as one of the domain's, noted as the outcome; `onFault` is told of one that is ours. */
  fail(error: unknown, onFault: OnFault): AuthError {
    const domainError = AuthError.from(error);
    this.outcome = domainError.code;
    if (domainError.code === "internal") onFault(error, this.requestId);
    return domainError;
  }

  /** The trace that the request belongs to, undefined where it belongs to none. */
  get traceIds(): TraceIds | undefined {
    return traceIdsOf(this.req.headers);
  }

  /** Aborts when nobody waits for the answer any more. Made when asked for: most never are. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      const abort = (this.#abort = new AbortController());
      this.res.once("close", () => abort.abort(new ClientGone()));
    }
    return this.#abort.signal;
  }
}

/** An answer that is written whole. A `content-length` is added unless there are trailers. */
export interface Answer {
  readonly status: number;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Uint8Array;
  readonly trailers?: Readonly<Record<string, string>>;
}

/** Largest request body, in bytes, that any path reads. */
export const requestBytesMax = 65_536;

/** The body is larger than allowed. The listener bounds what is read of the rest, to be thrown away. */
export class BodyTooLarge extends Error {}

/** The client went away before its request was whole; nobody waits for an answer. */
export class ClientGone extends Error {}

/**
 * How much of a body that is too large is still read, and for how long, before it is refused. A client
 * that is answered in the middle of its sending may never read the answer.
 */
const refusedBytesMax = 1_048_576;
const refusedTimeoutMs = 1000;

/** @throws BodyTooLarge @throws ClientGone */
export function readBody(req: NodeRequest, bytesMax: number): Promise<Buffer> {
  if (!hasBody(req)) return Promise.resolve(noBytes);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    let timer: NodeJS.Timeout | undefined;
    const refuse = () => {
      clearTimeout(timer);
      req.off("data", onData).resume();
      reject(new BodyTooLarge());
    };
    const onData = (chunk: Buffer) => {
      length += chunk.length;
      if (length <= bytesMax) chunks.push(chunk);
      else if (length > refusedBytesMax) refuse();
      else timer ??= setTimeout(refuse, refusedTimeoutMs);
    };
    const onGone = () => {
      clearTimeout(timer);
      // Every request closes in the end, and an error that nobody waits for has its price too.
      if (!req.complete || req.errored) reject(new ClientGone());
    };
    if (Number(req.headers["content-length"]) > refusedBytesMax) {
      refuse();
      return;
    }
    req.on("data", onData);
    req.once("end", () => {
      if (length > bytesMax) refuse();
      else resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks));
    });
    req.once("error", onGone);
    req.once("close", onGone);
  });
}

const noBytes = Buffer.alloc(0);

/** Whether there is one to wait for (RFC 9112 section 6.3; RFC 9113 section 8.1: END_STREAM). */
function hasBody(req: NodeRequest): boolean {
  if ("stream" in req) return !req.stream.endAfterHeaders;
  const { "content-length": length, "transfer-encoding": encoding } = req.headers;
  return encoding !== undefined || (length !== undefined && length !== "0");
}

/** Writes the whole answer. */
export function send({ res, headers: common }: Exchange, answer: Answer): void {
  const { status, body = "", trailers } = answer;
  // Not spread: V8 gives each object that begins with one and then grows a hidden class of its own.
  const headers: OutgoingHttpHeaders = Object.assign({}, common, answer.headers);
  // RFC 9110 section 8.6: none on 204, and on 304 only that of the answer that was left out.
  if (trailers === undefined && status !== 204 && status !== 304) {
    headers["content-length"] = Buffer.byteLength(body);
  }
  res.writeHead(status, headers);
  if (trailers) res.addTrailers(trailers);
  res.end(body);
}
