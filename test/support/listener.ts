/**
 * Starts listeners for tests on free ports, checks that none leaves a connection behind, and speaks
 * to them over plain sockets.
 */
import { afterEach, expect } from "@jest/globals";
import { request as httpRequest, type IncomingHttpHeaders, type RequestOptions } from "node:http";
import type { ClientHttp2Session, OutgoingHttpHeaders } from "node:http2";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Refusal, Request, Response } from "../../src/server/connections.js";
import { createListener, type Listener, type ListenerOptions } from "../../src/server/listener.js";

/** Short timeouts, so that tests that wait for them are fast. */
export const shortLimits = {
  requestTimeoutMs: 300,
  answerTimeoutMs: 300,
  idleTimeoutMs: 300,
  lingerMs: 100,
  drainIdleMs: 100,
  checkIntervalMs: 20,
} as const;

export interface Started {
  readonly listener: Listener;
  readonly port: number;
  readonly refusals: Refusal[];
}

const started: Started[] = [];
const sockets: Socket[] = [];

export async function start(options: Partial<ListenerOptions> = {}): Promise<Started> {
  const refusals: Refusal[] = [];
  const listener = createListener({
    host: "127.0.0.1",
    port: 0,
    handler: echo,
    onRefused: (refusal) => refusals.push(refusal),
    ...options,
  });
  const server = { listener, port: (await listener.listen()).port, refusals };
  started.push(server);
  return server;
}

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const { listener } of started.splice(0)) {
    await listener.drain(0);
    expect(listener.connections()).toBe(0);
  }
});

/** Sends the request's body back. */
export function echo(req: Request, res: Response): void {
  const chunks: Buffer[] = [];
  req.on("data", (chunk: Buffer) => chunks.push(chunk));
  req.on("end", () => {
    const body = Buffer.concat(chunks);
    res.writeHead(200, { "content-length": String(body.length), "x-path": req.url });
    res.end(body);
  });
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Makes one HTTP/1.1 request. */
export function fetchHttp1(
  options: RequestOptions,
  body: string | Uint8Array = "",
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = httpRequest({ host: "127.0.0.1", ...options }, (res) => {
      let text = "";
      res.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      res.on("end", () =>
        resolve({ status: res.statusCode ?? 0, headers: res.headers, body: text }),
      );
      res.on("error", reject);
    });
    req
      .on("error", (error) => reject(Object.assign(error, { reusedSocket: req.reusedSocket })))
      .end(body);
  });
}

export class StreamError extends Error {
  constructor(readonly streamId: number | undefined) {
    super("the stream had no answer");
  }
}

/** Makes one HTTP/2 request. @throws StreamError */
export function fetchHttp2(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders = {},
  body?: string,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? "GET" : "POST";
    const stream = session.request(
      { ":path": "/", ":method": method, ...headers },
      { endStream: body === undefined },
    );
    let text = "";
    let answered: IncomingHttpHeaders & { ":status"?: number | undefined } = {};
    stream.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    stream.on("response", (response) => (answered = response));
    stream
      .on("error", () => undefined)
      .on("close", () => {
        const status = answered[":status"] ?? 0;
        if (status === 0) reject(new StreamError(stream.id));
        else resolve({ status, headers: answered, body: text });
      });
    if (body !== undefined) stream.end(body);
  });
}

export interface RawSocket {
  readonly socket: Socket;
  /** The bytes that have come so far. */
  readonly received: () => Buffer;
  /** Resolves with all bytes once the server has closed the connection. */
  readonly closed: Promise<Buffer>;
}

export function openSocket(port: number, allowHalfOpen = false): RawSocket {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen });
  sockets.push(socket);
  let received = Buffer.alloc(0);
  socket.on("data", (chunk) => (received = Buffer.concat([received, chunk])));
  socket.on("error", () => undefined);
  const closed = new Promise<Buffer>((resolve) => {
    socket.on("close", () => resolve(received));
    socket.on("end", () => resolve(received));
  });
  return { socket, received: () => received, closed };
}

/** Waits until the condition holds. */
export async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`still not so: ${holds.toString()}`);
    await sleep(5);
  }
}
