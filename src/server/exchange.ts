/**
 * One HTTP request and its answer, alike for HTTP/1.1 and HTTP/2. Depends on auth's errors, its neighbour
 * `body.ts` and node.
 */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import { AuthError } from "../auth/errors.js";
import { ClientGone, readBody, Room, Share, type HeadCheck } from "./body.js";
import { traceIdsOf, type TraceIds } from "./trace-context.js";

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
  #share: Share | undefined;

  constructor(
    readonly req: NodeRequest,
    readonly res: NodeResponse,
    /** Also in the answer's `x-request-id`. */
    readonly requestId: string,
    /** Of the client, as far as it can be told: see client-address. */
    readonly clientAddress: string,
    private readonly room = new Room(),
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

  /** What the request holds in memory. */
  get share(): Share {
    return (this.#share ??= new Share(this.room));
  }

  /** @throws BodyTooLarge @throws ClientGone @throws AuthError `overloaded` */
  readBody(bytesMax: number, headCheck?: HeadCheck): Promise<Buffer> {
    return readBody(this.req, this.share, bytesMax, headCheck);
  }

  /** To be called once the request is over, or nothing of its body is needed any more. */
  release(): void {
    this.#share?.release();
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

/** An answer that is written whole. A `content-length` is added unless there is one or there are trailers. */
export interface Answer {
  readonly status: number;
  /** Default: node's own for the status. HTTP/2 has none. */
  readonly reason?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Uint8Array;
  readonly trailers?: Readonly<Record<string, string>>;
}

/** Writes the whole answer. */
export function send({ res, headers: common }: Exchange, answer: Answer): void {
  const { status, body = "", trailers } = answer;
  // Not spread: V8 gives each object that begins with one and then grows a hidden class of its own.
  const headers: OutgoingHttpHeaders = Object.assign({}, common, answer.headers);
  // RFC 9110 section 8.6: none on 204, and on 304 only that of the answer that was left out.
  if (trailers === undefined && status !== 204 && status !== 304) {
    headers["content-length"] ??= Buffer.byteLength(body);
  }
  if ("stream" in res && trailers === undefined && body.length === 0) {
    // `writeHead` would send the headers at once and the stream's end apart, in an empty frame.
    res.statusCode = status;
    for (const [name, value] of Object.entries(headers)) {
      if (value !== undefined) res.setHeader(name, value);
    }
    res.end();
    return;
  }
  if (answer.reason !== undefined && !("stream" in res)) res.statusMessage = answer.reason;
  res.writeHead(status, headers);
  if (trailers) res.addTrailers(trailers);
  res.end(body);
}
