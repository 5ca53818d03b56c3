/**
 * One HTTP request and its answer, the same for HTTP/1.1 and HTTP/2. Depends on auth's errors, its
 * neighbour `body.ts` and node.
 */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import { AuthError } from "../auth/errors.js";
import { ClientGone, readBody, Room, Share, type HeadCheck } from "./body.js";
import { traceIdsOf, type TraceIds } from "./trace-context.js";

export type NodeRequest = IncomingMessage | Http2ServerRequest;
export type NodeResponse = ServerResponse | Http2ServerResponse;

/** Called with every error that the caller sees as `internal`. */
export type OnFault = (error: unknown, requestId: string) => void;

/** A request with its id, its client's address and the common parts of its answer. */
export class Exchange {
  /** Headers of every answer; `send` adds those of this answer. */
  readonly headers: OutgoingHttpHeaders;
  /** How the use case ended: `ok` or a domain code; undefined if none was called. */
  outcome: string | undefined;
  #abort: AbortController | undefined;
  #share: Share | undefined;

  constructor(
    readonly req: NodeRequest,
    readonly res: NodeResponse,
    /** Also sent as `x-request-id`. */
    readonly requestId: string,
    /** The client's address as client-address.ts finds it. */
    readonly clientAddress: string,
    private readonly room = new Room(),
  ) {
    this.headers = { "x-request-id": requestId };
  }

  /**
   * Converts the error to a domain error and notes it as the outcome. Calls `onFault` with an
   * internal one.
   */
  fail(error: unknown, onFault: OnFault): AuthError {
    const domainError = AuthError.from(error);
    this.outcome = domainError.code;
    if (domainError.code === "internal") onFault(error, this.requestId);
    return domainError;
  }

  /** The ids of the request's trace, if it has one. */
  get traceIds(): TraceIds | undefined {
    return traceIdsOf(this.req.headers);
  }

  /** The memory that the request holds. */
  get share(): Share {
    return (this.#share ??= new Share(this.room));
  }

  /** @throws BodyTooLarge @throws ClientGone @throws AuthError `overloaded` */
  readBody(bytesMax: number, headCheck?: HeadCheck): Promise<Buffer> {
    return readBody(this.req, this.share, bytesMax, headCheck);
  }

  /**
   * Gives the memory back. Call it when the request is over, or when its body is no longer needed.
   */
  release(): void {
    this.#share?.release();
  }

  /**
   * Aborts when nobody waits for the answer any more. Created on demand: most requests need none.
   */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      const abort = (this.#abort = new AbortController());
      this.res.once("close", () => abort.abort(new ClientGone()));
    }
    return this.#abort.signal;
  }
}

/** A complete answer. `send` adds `content-length` unless it is set or there are trailers. */
export interface Answer {
  readonly status: number;
  /** Default: node's phrase for the status. HTTP/2 sends none. */
  readonly reason?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Uint8Array;
  readonly trailers?: Readonly<Record<string, string>>;
}

/** Writes the whole answer. */
export function send({ res, headers: common }: Exchange, answer: Answer): void {
  const { status, body = "", trailers } = answer;
  // Not a spread: V8 gives each object that begins with a spread and then grows its own hidden
  // class.
  const headers: OutgoingHttpHeaders = Object.assign({}, common, answer.headers);
  // RFC 9110 section 8.6: no length on 204; on 304 only that of the answer left out.
  if (trailers === undefined && status !== 204 && status !== 304) {
    headers["content-length"] ??= Buffer.byteLength(body);
  }
  if ("stream" in res && trailers === undefined && body.length === 0) {
    // `writeHead` would send the headers at once, and the end of the stream in an empty frame of
    // its own.
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
