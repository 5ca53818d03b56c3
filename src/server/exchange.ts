/**
 * One HTTP request and its answer, alike for HTTP/1.1 and HTTP/2. Depends on node alone.
 */
import { constants } from "node:http2";
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";

export type NodeRequest = IncomingMessage | Http2ServerRequest;
export type NodeResponse = ServerResponse | Http2ServerResponse;

/** What every surface gets to know of a request beside the request itself. */
export interface Exchange {
  readonly req: NodeRequest;
  readonly res: NodeResponse;
  /** Also in the answer's `x-request-id`. */
  readonly requestId: string;
  /** How a use case ended: `ok` or a domain code; undefined while none was reached. */
  outcome: string | undefined;
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

/** The body is larger than allowed. What has not arrived yet is left unread. */
export class BodyTooLarge extends Error {}

/** The client went away before its request was whole; nobody waits for an answer. */
export class ClientGone extends Error {}

/** @throws BodyTooLarge, at once where the size is declared. @throws ClientGone */
export function readBody(req: NodeRequest, bytesMax: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (Number(req.headers["content-length"]) > bytesMax) {
      reject(new BodyTooLarge());
      return;
    }
    const chunks: Buffer[] = [];
    let length = 0;
    const onData = (chunk: Buffer) => {
      length += chunk.length;
      if (length > bytesMax) {
        req.off("data", onData);
        req.pause();
        reject(new BodyTooLarge());
      } else {
        chunks.push(chunk);
      }
    };
    req.on("data", onData);
    req.once("end", () =>
      resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)),
    );
    req.once("error", () => reject(new ClientGone()));
    req.once("close", () => reject(new ClientGone()));
  });
}

/** What is still read of a request that was answered early. */
const discardedBytesMax = 1_048_576;
const discardedTimeoutMs = 1000;

/** Writes the whole answer. */
export function send({ req, res }: Exchange, answer: Answer): void {
  const { status, headers, body = "", trailers } = answer;
  if (trailers === undefined) {
    res.writeHead(status, { ...headers, "content-length": Buffer.byteLength(body) });
  } else {
    res.writeHead(status, headers);
    res.addTrailers(trailers);
  }
  if ("stream" in res) {
    res.end(body);
    // RFC 9113 section 8.1: an answer that does not need the rest of the request says so.
    if (!req.complete) res.stream.close(constants.NGHTTP2_NO_ERROR);
  } else if (req.complete || !hasBody(req)) {
    res.end(body);
  } else {
    // Ending now would close the connection under a client that is still sending, and the reset
    // could take the answer with it. The answer is whole without the end: its length is known.
    res.flushHeaders();
    if (body.length > 0) res.write(body);
    discardRest(req, () => res.end());
  }
}

function hasBody({ headers }: NodeRequest): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"]) > 0;
}

function discardRest(req: NodeRequest, done: () => void): void {
  let left = discardedBytesMax;
  const timer = setTimeout(done, discardedTimeoutMs);
  req.on("data", (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) done();
  });
  req.once("close", () => {
    clearTimeout(timer);
    done();
  });
  req.resume();
}
