/**
 * The open connections and their requests: counts them for their clients, enforces the limits, and
 * answers or cuts past them. Depends on its neighbours and on node.
 */
import { randomUUID } from "node:crypto";
import { STATUS_CODES, type IncomingMessage, type ServerResponse } from "node:http";
import {
  constants,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from "node:http2";
import type { Socket } from "node:net";
import { headerBytesMax } from "../auth/limits.js";
import type { Answer } from "./exchange.js";
import { FrameWatch } from "./frame-watch.js";
import { pathOf, refusalOf } from "./request-rules.js";
import type { ListenerRefusal } from "./route.js";

export type Request = IncomingMessage | Http2ServerRequest;
export type Response = ServerResponse | Http2ServerResponse;

export interface ListenerLimits {
  /** Header bytes of a request; on HTTP/2 as RFC 9113 section 6.5.2 counts them. Past it: 431. */
  readonly headerBytesMax: number;
  /** Requests in progress on a connection; on HTTP/1.1 the pipelined ones. */
  readonly streamsMax: number;
  /** Time for the handshake, for the first bytes and for a request. Past it: 408. */
  readonly requestTimeoutMs: number;
  /** Time for the client to read an answer that waits. Past it the connection is cut. */
  readonly answerTimeoutMs: number;
  /** Time for which a connection without a request is kept. */
  readonly idleTimeoutMs: number;
  /** Time for which bytes after a final answer are read and discarded. */
  readonly lingerMs: number;
  /** During a drain, time in which idle connections may send a last request. */
  readonly drainIdleMs: number;
  /** How often these times are checked. */
  readonly checkIntervalMs: number;
  /** Open connections of one client network. */
  readonly connectionsPerNetworkMax: number;
  /** Requests in progress of one client network, over all its connections. */
  readonly streamsPerNetworkMax: number;
  /**
   * PING and SETTINGS frames and reset streams that an HTTP/2 connection may send at once beyond
   * one for each good request, and how many of them are forgiven each second.
   */
  readonly overheadFramesMax: number;
  readonly overheadFramesPerSecond: number;
}

export const defaultLimits = {
  headerBytesMax,
  streamsMax: 128,
  requestTimeoutMs: 10_000,
  answerTimeoutMs: 30_000,
  idleTimeoutMs: 75_000,
  lingerMs: 1_000,
  drainIdleMs: 1_000,
  checkIntervalMs: 1_000,
  connectionsPerNetworkMax: 1_024,
  streamsPerNetworkMax: 4_096,
  overheadFramesMax: 256,
  overheadFramesPerSecond: 33,
} as const satisfies ListenerLimits;

/** Why a request was refused before the handler saw it, or cut before the handler finished it. */
export type RefusalReason =
  | "connections"
  | "streams"
  | "header_size"
  | "slow_request"
  | "slow_reader"
  | "malformed"
  | "flood"
  | "tls";

export interface Refusal {
  readonly reason: RefusalReason;
  readonly remoteAddress: string | undefined;
  /** The status and `x-request-id` of the answer, if there was one. */
  readonly status?: number;
  readonly requestId?: string;
}

/** The client network that an address counts for; undefined for no count. */
export type NetworkOf = (remoteAddress: string) => string | undefined;

/** The known parts of a refused request. */
export interface RefusedRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly headers: {
    readonly "content-type"?: string | undefined;
    readonly origin?: string | undefined;
  };
}

/** What the connections ask of other rooms. */
export interface ConnectionHooks {
  readonly networkOf: NetworkOf;
  readonly onRefused: (refusal: Refusal) => void;
  /** Whether an address is a proxy's, whose connections carry the requests of many clients. */
  readonly isShared: (remoteAddress: string) => boolean;
  /** The network of the client that the proxy names. */
  readonly clientOf: (req: Request) => string;
  /** The refusal in the shape of the path; undefined for an empty body. */
  readonly refusalOf: (request: RefusedRequest, status: ListenerRefusal) => Answer | undefined;
}

/** Counts the frames that serve no request: see `overheadFramesMax`. */
interface Account {
  overheadFrames: number;
  overheadAt: number;
}

/** One client behind a proxy's shared connections. */
interface Client extends Account {
  readonly name: string;
  streams: number;
}

interface Exchange {
  readonly req: Request;
  readonly res: Response;
  readonly startedAt: number;
  /** The client, if the connection is shared. */
  readonly client: Client | undefined;
  /**
   * Since when the server waits for the client: to read the answer, or to send the rest of the
   * request.
   */
  waitingSince: number | undefined;
}

export interface Connection extends Account {
  readonly socket: Socket;
  readonly remoteAddress: string | undefined;
  readonly network: Network | undefined;
  readonly exchanges: Set<Exchange>;
  /** Set on HTTP/2. */
  session?: ServerHttp2Session;
  frames?: FrameWatch;
  /** When to close the connection if nothing more arrives, and the reason. */
  deadline?: { readonly at: number; readonly reason?: RefusalReason };
  cut: boolean;
  idleSince: number;
  /** A shared connection is never cut for what one of its clients does. */
  readonly isShared: boolean;
  /** On HTTP/1.1 the beginning of a request whose headers have not all arrived. */
  head?: string | undefined;
}

interface Network {
  readonly name: string;
  connections: number;
  streams: number;
}

const statusOfClientError: Readonly<Record<string, ListenerRefusal>> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};
const reasonOfStatus: Readonly<Record<number, RefusalReason>> = {
  408: "slow_request",
  429: "flood",
  431: "header_size",
};

export class Connections {
  readonly #limits: ListenerLimits;
  readonly #hooks: ConnectionHooks;
  readonly #sockets = new Set<Socket>();
  /** By the object that a request refers to: the socket on HTTP/1.1, the session on HTTP/2. */
  readonly #connections = new Map<object, Connection>();
  readonly #networks = new Map<string, Network>();
  /** The clients of shared connections, by network. */
  readonly #clients = new Map<string, Client>();
  #draining = false;

  constructor(limits: ListenerLimits, hooks: ConnectionHooks) {
    this.#limits = limits;
    this.#hooks = hooks;
  }

  /** The number of accepted open sockets, handshakes included. */
  get size(): number {
    return this.#sockets.size;
  }

  /** Registers an accepted socket. */
  accept(socket: Socket): void {
    socket.on("error", ignore);
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
  }

  /**
   * Counts an accepted socket for its network; closes it and returns false if the network has too
   * many.
   */
  admit(socket: Socket): boolean {
    const network = this.#network(socket);
    if (network && network.connections >= this.#limits.connectionsPerNetworkMax) {
      this.report("connections", socket.remoteAddress);
      socket.destroy();
      return false;
    }
    if (network) {
      network.connections++;
      this.#networks.set(network.name, network);
    }
    socket.once("close", () => {
      if (network && --network.connections === 0) this.#networks.delete(network.name);
    });
    return true;
  }

  #network({ remoteAddress }: Socket): Network | undefined {
    const name = remoteAddress === undefined ? undefined : this.#hooks.networkOf(remoteAddress);
    if (name === undefined) return undefined;
    return this.#networks.get(name) ?? { name, connections: 0, streams: 0 };
  }

  /** Registers a connection, which has to send its first bytes within `requestTimeoutMs`. */
  open(socket: Socket): Connection {
    const now = performance.now();
    const connection: Connection = {
      socket,
      remoteAddress: socket.remoteAddress,
      network: this.#network(socket),
      exchanges: new Set(),
      deadline: { at: now + this.#limits.requestTimeoutMs, reason: "slow_request" },
      cut: false,
      idleSince: now,
      isShared: this.#hooks.isShared(socket.remoteAddress ?? ""),
      overheadFrames: 0,
      overheadAt: now,
    };
    this.#connections.set(socket, connection);
    socket.on("error", ignore).once("close", () => {
      this.#connections.delete(connection.session ?? socket);
      for (const exchange of connection.exchanges) this.#release(connection, exchange);
    });
    return connection;
  }

  /** The open connection of an HTTP/1.1 socket or an HTTP/2 session. */
  find(key: object | undefined): Connection | undefined {
    return key && this.#connections.get(key);
  }

  startHttp2(connection: Connection, session: ServerHttp2Session): void {
    this.#connections.delete(connection.socket);
    this.#connections.set(session, connection);
    connection.session = session;
    connection.frames = new FrameWatch(session, connection.socket);
    session.on("ping", () => this.#spend(connection));
    session.on("remoteSettings", () => {
      if (!session.closed) delete connection.deadline;
      this.#spend(connection);
    });
    session.on("error", ({ code = "" }: NodeJS.ErrnoException) => {
      if (connection.cut || endCodes.has(code)) return;
      this.report("malformed", connection.remoteAddress);
    });
  }

  /** Keeps the beginning of each HTTP/1.1 request. Call it with every chunk before it is parsed. */
  keepHead(connection: Connection, chunk: Buffer): void {
    for (const { req } of connection.exchanges) if (!req.complete) return;
    const { head = "" } = connection;
    if (head.length === headCharsMax) return;
    connection.head = head + chunk.toString("latin1", 0, headCharsMax - head.length);
  }

  /** Registers a request. Returns false if a limit is passed: then it is not handled. */
  begin(connection: Connection, req: Request, res: Response): boolean {
    if (connection.cut) return false;
    if ("stream" in res) connection.frames?.saw(res.stream.id);
    const { exchanges, network } = connection;
    const { headerBytesMax, streamsMax, streamsPerNetworkMax } = this.#limits;
    const isOverlong = connection.session && headerBytes(req.rawHeaders) > headerBytesMax;
    const status = isOverlong ? 431 : refusalOf(req);
    if (status !== undefined) {
      this.answer(connection, res, status);
      return false;
    }
    connection.head = restOf(connection.head, req);
    const client = connection.isShared ? this.#client(req) : undefined;
    if (client && (this.#isOverdrawn(client) || client.streams >= streamsPerNetworkMax)) {
      this.answer(connection, res, 429);
      return false;
    }
    if (client && "stream" in res && exchanges.size >= streamsMax) {
      res.stream.close(constants.NGHTTP2_REFUSED_STREAM);
      return false;
    }
    const startedAt = performance.now();
    const exchange: Exchange = { req, res, startedAt, client, waitingSince: undefined };
    exchanges.add(exchange);
    if (network) network.streams++;
    if (client) client.streams++;
    res.once("close", () => this.#finish(connection, exchange));
    if (exchanges.size > streamsMax || (network?.streams ?? 0) > streamsPerNetworkMax) {
      this.#cut(connection, "streams");
      return false;
    }
    if (this.#draining) closeAfterLast(connection);
    return true;
  }

  #finish(connection: Connection, exchange: Exchange): void {
    const { req, res, client = connection } = exchange;
    if ("stream" in res) {
      if (res.stream.rstCode === constants.NGHTTP2_NO_ERROR) client.overheadFrames--;
      else this.#spend(connection, client);
    } else if (!req.complete && !connection.socket.destroyed) {
      // `#checkExchange` bounds the rest of a refused body.
      return;
    }
    this.#release(connection, exchange);
  }

  #release(connection: Connection, exchange: Exchange): void {
    if (!connection.exchanges.delete(exchange)) return;
    if (connection.network) connection.network.streams--;
    if (exchange.client) exchange.client.streams--;
    connection.idleSince = performance.now();
  }

  /** Counts a frame that serves no request, and cuts a connection that sends little else. */
  #spend(connection: Connection, account: Account = connection): void {
    connection.frames?.saw();
    account.overheadFrames = this.#overheadOf(account) + 1;
    account.overheadAt = performance.now();
    if (!connection.isShared && this.#isOverdrawn(account)) this.#cut(connection, "flood");
  }

  /** The present count, less what was forgiven since. */
  #overheadOf({ overheadFrames, overheadAt }: Account): number {
    const forgiven =
      ((performance.now() - overheadAt) / 1000) * this.#limits.overheadFramesPerSecond;
    return Math.max(0, overheadFrames - forgiven);
  }

  #isOverdrawn(account: Account): boolean {
    return this.#overheadOf(account) > this.#limits.overheadFramesMax;
  }

  #client(req: Request): Client {
    const name = this.#hooks.clientOf(req);
    let client = this.#clients.get(name);
    if (client === undefined) {
      client = { name, streams: 0, overheadFrames: 0, overheadAt: performance.now() };
      this.#clients.set(name, client);
    }
    return client;
  }

  /** Ends what has taken too long. Call it every `checkIntervalMs`. */
  check(): void {
    const now = performance.now();
    for (const connection of this.#connections.values()) {
      const { session, exchanges, deadline, idleSince, socket } = connection;
      if (deadline && now >= deadline.at) {
        if (deadline.reason) this.report(deadline.reason, connection.remoteAddress);
        socket.destroy();
      } else if (session && exchanges.size === 0) {
        if (now - idleSince >= this.#limits.idleTimeoutMs) this.#closeSession(connection, session);
      }
      if (session && !session.destroyed) this.#checkFrames(connection, now);
      for (const exchange of exchanges) {
        this.#checkExchange(connection, exchange, now);
        // On HTTP/1.1 only the first answer can be sent; the others wait for it.
        if (session === undefined) break;
      }
    }
    for (const client of this.#clients.values()) {
      if (client.streams === 0 && this.#overheadOf(client) === 0) this.#clients.delete(client.name);
    }
  }

  #checkFrames(connection: Connection, now: number): void {
    if (connection.frames === undefined) return;
    const waitedMs = connection.frames.check(now, connection.exchanges.size > 0);
    if (waitedMs === Infinity) this.#cut(connection, "malformed");
    else if (waitedMs >= this.#limits.requestTimeoutMs) this.#cut(connection, "slow_request");
  }

  #checkExchange(connection: Connection, exchange: Exchange, now: number): void {
    const { req, res, startedAt } = exchange;
    const { lingerMs, answerTimeoutMs, requestTimeoutMs } = this.#limits;
    const stream = "stream" in res ? res.stream : undefined;
    const out = stream ?? (res as ServerResponse);
    if (!out.writableEnded && !out.writableNeedDrain) {
      exchange.waitingSince = undefined;
      const late = now - startedAt >= requestTimeoutMs;
      // On HTTP/1.1 node does this itself. A stream whose answer has begun may go on both ways.
      if (late && stream?.headersSent === false && stream.state.remoteClose !== 1) {
        this.answer(connection, res, 408);
      }
      return;
    }
    if (out.writableFinished && !stream && req.complete) {
      this.#release(connection, exchange);
      return;
    }
    exchange.waitingSince ??= now;
    const waitedMs = now - exchange.waitingSince;
    if (waitedMs >= answerTimeoutMs) {
      if (stream && connection.isShared) {
        this.report("slow_reader", connection.remoteAddress);
        stream.close(constants.NGHTTP2_CANCEL);
      } else this.#cut(connection, "slow_reader");
    } else if (out.writableFinished && waitedMs >= lingerMs) {
      if (stream) stream.close();
      else connection.socket.destroy();
    }
  }

  /** Handles bytes that are no HTTP/1.1 request, or a request that came too slowly. */
  refuseHttp1(connection: Connection, error: ClientError): void {
    const { socket, exchanges, deadline } = connection;
    // The bytes are what is read after a final answer.
    if (deadline) return;
    const answering = [...exchanges].some(({ req, res }) => req.complete || res.headersSent);
    if (error.code === "ECONNRESET" || answering || !socket.writable) socket.destroy();
    else if (isForeign(error)) {
      this.report("malformed", connection.remoteAddress);
      socket.destroy();
    } else this.answerRaw(connection, statusOfClientError[error.code ?? ""] ?? 400);
  }

  /** Answers on a socket without a response object, and closes it. */
  answerRaw(connection: Connection, status: ListenerRefusal): void {
    const request = requestOf(connection);
    const { status: shown, headers, body } = this.#refusal(connection, request, status);
    connection.deadline = this.#linger();
    const lines = Object.entries({
      date: new Date().toUTCString(),
      ...headers,
      connection: "close",
    }).map(([name, value]) => `${name}: ${String(value)}\r\n`);
    const head = `HTTP/1.1 ${shown} ${STATUS_CODES[shown] ?? ""}\r\n${lines.join("")}\r\n`;
    const content = request?.method === "HEAD" ? "" : body;
    connection.socket.end(Buffer.concat([Buffer.from(head), Buffer.from(content)]));
  }

  /** The refusal to send, reported. */
  #refusal(connection: Connection, request: RefusedRequest | undefined, status: ListenerRefusal) {
    const requestId = this.#reportAnswer(connection, status);
    const { url, headers: sent = {} } = request ?? {};
    const refusal = this.#hooks.refusalOf({ url: pathOf(url), headers: sent }, status);
    const { body = "", headers, status: shown } = refusal ?? { status };
    const length = String(Buffer.byteLength(body));
    const all = { ...headers, "x-request-id": requestId, "content-length": length };
    return { status: shown, headers: all, body };
  }

  /** Answers a request; on HTTP/1.1 closes the connection. */
  answer(connection: Connection, res: Response, status: ListenerRefusal): void {
    const { status: shown, headers, body } = this.#refusal(connection, res.req, status);
    if (!("stream" in res)) {
      res.writeHead(shown, { ...headers, connection: "close" }).end(body);
    } else if (!res.stream.destroyed && !res.stream.closed) {
      const { stream } = res;
      const isEmpty = body.length === 0 || res.req.method === "HEAD";
      stream.respond({ ":status": shown, ...headers }, { endStream: isEmpty });
      if (!isEmpty) stream.end(body);
      // Closed as soon as possible, so that the handler sees it; sooner, Node 22 drops the answer.
      setImmediate(() => stream.close());
    }
  }

  #cut(connection: Connection, reason: RefusalReason): void {
    if (connection.cut) return;
    connection.cut = true;
    this.report(reason, connection.remoteAddress);
    connection.deadline = this.#linger();
    const { session, socket } = connection;
    if (session === undefined) socket.destroy();
    // Deferred: Node 20 aborts the process when a session is destroyed inside a callback of
    // nghttp2.
    else
      setImmediate(() => session.destroy(new Error(reason), constants.NGHTTP2_ENHANCE_YOUR_CALM));
  }

  /**
   * From now on HTTP/1.1 answers close their connection, and HTTP/2 sessions end with their open
   * streams: GOAWAY tells the client which requests to send elsewhere.
   */
  startDrain(): void {
    this.#draining = true;
    for (const connection of this.#connections.values()) {
      if (connection.session) this.#closeSession(connection, connection.session);
      else closeAfterLast(connection);
    }
  }

  /** Closes HTTP/2 sessions without a request. HTTP/1.1 connections are closed by their server. */
  closeIdle(): void {
    for (const connection of this.#connections.values()) {
      if (connection.session) this.#closeSession(connection, connection.session);
      else if (connection.deadline?.reason) connection.socket.destroy();
    }
  }

  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #closeSession(connection: Connection, session: ServerHttp2Session): void {
    if (!session.closed && !session.destroyed) session.close();
    if (connection.exchanges.size === 0) connection.deadline ??= this.#linger();
  }

  #linger(): { at: number } {
    return { at: performance.now() + this.#limits.lingerMs };
  }

  #reportAnswer({ remoteAddress }: Connection, status: ListenerRefusal): string {
    const requestId = randomUUID();
    const reason = reasonOfStatus[status] ?? "malformed";
    this.#hooks.onRefused({ reason, remoteAddress, status, requestId });
    return requestId;
  }

  report(reason: RefusalReason, remoteAddress: string | undefined): void {
    this.#hooks.onRefused({ reason, remoteAddress });
  }
}

/** Pipelined requests are all answered, so only the last answer may close the connection. */
function closeAfterLast({ session, exchanges }: Connection): void {
  if (session) return;
  const unanswered = [...exchanges].filter(({ res }) => !res.headersSent);
  const last = unanswered.pop();
  for (const { res } of unanswered) res.removeHeader("connection");
  last?.res.setHeader("connection", "close");
}

/** Error codes of a connection whose peer has just left. */
const endCodes = new Set(["ECONNRESET", "EPIPE", "ETIMEDOUT", "ERR_HTTP2_SESSION_ERROR"]);

/** The known parts of a request that the HTTP/1.1 parser has given up. */
function requestOf({ exchanges, head = "" }: Connection): RefusedRequest | undefined {
  const [exchange] = exchanges;
  if (exchange) return exchange.req;
  const [, method, url] = /^(?:\r\n)*(\S+) (\S+)\s/.exec(head) ?? [];
  const [, type] = /\r\ncontent-type: *([^\r\n]*)\r\n/i.exec(head) ?? [];
  const [, origin] = /\r\norigin: *([^\r\n]*)\r\n/i.exec(head) ?? [];
  return { method, url, headers: { "content-type": type, origin } };
}

/** The beginning of a pipelined request in what was kept, if the body before has a known length. */
function restOf(head: string | undefined, { headers }: Request): string | undefined {
  const end = head?.indexOf("\r\n\r\n") ?? -1;
  if (end === -1 || headers["transfer-encoding"] !== undefined) return undefined;
  return head?.slice(end + 4 + Number(headers["content-length"] ?? 0)) || undefined;
}

/** Characters of a request's beginning that are kept, to find its path. */
const headCharsMax = 1024;

/** Node's error for bytes that are no HTTP/1.1 request. */
export type ClientError = NodeJS.ErrnoException & { readonly rawPacket?: Buffer };

/**
 * Whether the bytes are another protocol, such as HTTP/2 with a wrong preface: nobody would read an
 * answer.
 */
function isForeign({ code, rawPacket }: ClientError): boolean {
  return code === "HPE_INVALID_METHOD" && rawPacket?.includes(" HTTP/") === false;
}

/** The size as RFC 9113 section 6.5.2 defines it: 32 bytes for each field beside name and value. */
function headerBytes(rawHeaders: readonly string[]): number {
  let sum = 16 * rawHeaders.length;
  for (const text of rawHeaders) sum += text.length;
  return sum;
}

function ignore(): void {
  // A reset needs no handling: 'close' follows.
}
