/**
 * The public port: HTTP/1.1 and HTTP/2 on one socket, cleartext (HTTP/2 by prior knowledge) or TLS
 * (by ALPN), and its drain. Leaves the answers to the handler. Depends on the neighbours and on
 * node.
 */
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server as HttpServer,
  type ServerOptions,
  type ServerResponse,
} from "node:http";
import {
  createServer as createHttp2Server,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
} from "node:http2";
import { createServer as createHttpsServer, type Server as HttpsServer } from "node:https";
import { Server as NetServer, type AddressInfo, type Socket } from "node:net";
import { setImmediate as pollPhase, setTimeout as sleep } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import {
  Connections,
  defaultLimits,
  type ClientError,
  type Connection,
  type ConnectionHooks,
  type ListenerLimits,
  type Request,
  type Response,
} from "./connections.js";
import { watchHalfClosed } from "./half-close.js";
import { readProxyHeader } from "./proxy-protocol.js";
import { pathOf } from "./request-rules.js";
import type { ListenerRefusal } from "./route.js";
import { secureContextOptions, type TlsMaterial } from "./tls.js";

/**
 * Without hooks each address is its own network and no connection is shared. A trusted proxy
 * belongs to no network, because all clients share its connections.
 */
export interface ListenerOptions extends Partial<ConnectionHooks> {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** Called with every request within the limits. Must not throw. */
  readonly handler: (req: Request, res: Response) => void;
  readonly limits?: Partial<ListenerLimits>;
  /** If set, the port accepts TLS only; with its `ca`, only clients with a certificate. */
  readonly tls?: TlsMaterial;
  /** Whether the connections of an address begin with a PROXY protocol header. Default: no. */
  readonly isProxied?: (remoteAddress: string) => boolean;
}

export interface Listener {
  /**
   * Resolves when connections are accepted.
   * @throws the system's error (EADDRINUSE, EACCES)
   */
  listen(): Promise<AddressInfo>;
  /** The number of open connections, handshakes included. */
  connections(): number;
  /**
   * Uses another certificate for new connections.
   * @throws Error if the material cannot be used; the previous one then stays in use
   */
  reloadTls(material: TlsMaterial): void;
  /**
   * Accepts no more connections and lets the open ones finish. HTTP/2 clients get a GOAWAY at once;
   * idle HTTP/1.1 connections may send one more request and are closed after `drainIdleMs` (at most
   * half of `graceMs`). Cuts what is open after `graceMs`. Resolves when no connection is left.
   */
  drain(graceMs: number): Promise<void>;
}

/** @throws Error if `tls` cannot be used */
export function createListener(options: ListenerOptions): Listener {
  return new PortListener(options);
}

/** The part of HTTP/2's preface (RFC 9113 section 3.4) that tells it from HTTP/1.1. */
const prefaceLine = Buffer.from("PRI * HTTP/2.0\r\n");
const drainPollMs = 50;

type Accept = (socket: Socket) => void;

class PortListener implements Listener {
  readonly #options: ListenerOptions;
  readonly #limits: ListenerLimits;
  readonly #connections: Connections;
  readonly #server: HttpServer | HttpsServer;
  readonly #http2: Http2Server;
  readonly #acceptHttp1: Accept;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#limits = { ...defaultLimits, ...options.limits };
    this.#connections = new Connections(this.#limits, {
      networkOf: (address) => address,
      onRefused: () => undefined,
      isShared: () => false,
      clientOf: (req) => req.socket.remoteAddress ?? "",
      refusalOf: () => undefined,
      ...options,
    });
    this.#server = this.#createHttp1();
    this.#http2 = this.#createHttp2();
    this.#acceptHttp1 = options.tls === undefined ? this.#takeCleartext() : this.#takeTls();
  }

  async listen(): Promise<AddressInfo> {
    const { host, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject).listen({ host, port }, () => {
        this.#server.off("error", reject);
        resolve();
      });
    });
    this.#timer = setInterval(
      () => this.#connections.check(),
      this.#limits.checkIntervalMs,
    ).unref();
    return this.#server.address() as AddressInfo;
  }

  connections(): number {
    return this.#connections.size;
  }

  reloadTls(material: TlsMaterial): void {
    const { tls } = this.#options;
    if (tls === undefined || !("setSecureContext" in this.#server)) {
      throw new Error("the listener has no TLS to reload");
    }
    if ((tls.ca === undefined) !== (material.ca === undefined)) {
      throw new Error("a reload cannot change whether clients need a certificate");
    }
    this.#server.setSecureContext(secureContextOptions(material));
  }

  async drain(graceMs: number): Promise<void> {
    const startedAt = performance.now();
    const idleMs = Math.min(this.#limits.drainIdleMs, graceMs / 2);
    // http.Server's own close() drops idle connections, even if a request is on its way.
    NetServer.prototype.close.call(this.#server);
    this.#connections.startDrain();
    while (this.#connections.size > 0) {
      const elapsedMs = performance.now() - startedAt;
      if (elapsedMs >= graceMs) this.#connections.destroy();
      else if (elapsedMs >= idleMs) {
        this.#server.closeIdleConnections();
        this.#connections.closeIdle();
      }
      await sleep(drainPollMs);
      // A busy process runs its timers first: this reads the requests that have arrived meanwhile.
      await pollPhase();
    }
    clearInterval(this.#timer);
    this.#server.close();
  }

  #createHttp1(): HttpServer | HttpsServer {
    const { headerBytesMax, requestTimeoutMs, idleTimeoutMs, checkIntervalMs } = this.#limits;
    const { tls } = this.#options;
    const options: ServerOptions = {
      maxHeaderSize: headerBytesMax,
      headersTimeout: requestTimeoutMs,
      requestTimeout: requestTimeoutMs,
      keepAliveTimeout: idleTimeoutMs,
      connectionsCheckingInterval: checkIntervalMs,
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
      // Node's own answer would lack the request id.
      requireHostHeader: false,
    };
    const server =
      tls === undefined
        ? createHttpServer(options)
        : createHttpsServer({
            ...options,
            ...secureContextOptions(tls),
            requestCert: tls.ca !== undefined,
            rejectUnauthorized: tls.ca !== undefined,
            ALPNProtocols: ["h2", "http/1.1"],
            handshakeTimeout: requestTimeoutMs,
          });
    // The size of the headers bounds their number to 4,096; `request-rules.ts` counts them.
    server.maxHeadersCount = 0;
    // Otherwise node ends its side as soon as the client ends the other.
    Object.assign(server, { httpAllowHalfOpen: true });
    server.on("request", (req, res) => {
      const connection = this.#connections.find(req.socket);
      if (connection) this.#handle(connection, req, res);
    });
    server.on("checkExpectation", ({ socket }: IncomingMessage, res: ServerResponse) =>
      this.#answer(socket, res, 417),
    );
    server.on("connect", ({ socket }: IncomingMessage) => {
      const connection = this.#connections.find(socket);
      if (connection) this.#connections.answerRaw(connection, 501);
    });
    server.on("clientError", (error: ClientError, socket) => {
      const connection = this.#connections.find(socket);
      if (connection) this.#connections.refuseHttp1(connection, error);
    });
    return server;
  }

  #createHttp2(): Http2Server {
    const server = createHttp2Server({
      settings: {
        maxConcurrentStreams: this.#limits.streamsMax,
        // Node resets a stream past this limit without an answer, so it is above the size that gets
        // 431.
        maxHeaderListSize: 8 * this.#limits.headerBytesMax,
      },
      // Likewise; the size above allows fewer.
      maxHeaderListPairs: 4096,
      maxSessionInvalidFrames: 100,
      maxSessionRejectedStreams: 100,
    });
    server.on("request", (req, res) => {
      const connection = this.#connections.find(req.stream.session);
      if (connection) this.#handle(connection, req, res);
    });
    for (const [event, status] of [
      ["checkExpectation", 417],
      ["connect", 501],
    ] as const) {
      server.on(event, ({ stream }: Http2ServerRequest, res: Http2ServerResponse) =>
        this.#answer(stream.session, res, status),
      );
    }
    return server;
  }

  #handle(connection: Connection, req: Request, res: Response): void {
    if (!this.#connections.begin(connection, req, res)) return;
    req.url = pathOf(req.url) ?? "";
    this.#options.handler(req, res);
  }

  #answer(key: object | undefined, res: Response, status: ListenerRefusal): void {
    const connection = this.#connections.find(key);
    if (connection) this.#connections.answer(connection, res, status);
  }

  #takeCleartext(): Accept {
    const acceptHttp1 = takeListener(this.#server, "connection");
    this.#server.on("connection", (socket: Socket) => {
      this.#receive(socket, () => this.#sniff(this.#connections.open(socket)));
    });
    return acceptHttp1;
  }

  /** Accepts a socket once its client is known, unless the client's network has too many. */
  #receive(socket: Socket, accept: () => void): void {
    const { remoteAddress = "" } = socket;
    this.#connections.accept(socket);
    const admit = () => {
      if (this.#connections.admit(socket)) accept();
    };
    if (!this.#options.isProxied?.(remoteAddress)) admit();
    else {
      const onFault = (reason: "slow_request" | "malformed") =>
        this.#connections.report(reason, remoteAddress);
      readProxyHeader(socket, this.#limits.requestTimeoutMs, onFault, admit);
    }
  }

  #takeTls(): Accept {
    const handshake = takeListener(this.#server, "connection");
    const acceptHttp1 = takeListener(this.#server, "secureConnection");
    takeListener(this.#server, "tlsClientError");
    /** The clients named by PROXY protocol headers, by the peer of their connection. */
    const clients = new Map<string, string>();
    this.#server.on("connection", (socket: Socket) => {
      const peer = peerOf(socket);
      this.#receive(socket, () => {
        if (socket.remoteAddress !== undefined && peer.address !== socket.remoteAddress) {
          clients.set(peer.port, socket.remoteAddress);
          socket.once("close", () => clients.delete(peer.port));
        }
        handshake(socket);
      });
    });
    this.#server.on("tlsClientError", (_error: Error, socket: TLSSocket) => {
      this.#connections.report("tls", socket.remoteAddress);
      socket.destroy();
    });
    this.#server.on("secureConnection", (socket: TLSSocket) => {
      const address = clients.get(peerOf(socket).port);
      if (address !== undefined) Object.defineProperty(socket, "remoteAddress", { value: address });
      const connection = this.#connections.open(socket);
      // Only now: a client that ends its side during the handshake has left.
      socket.allowHalfOpen = true;
      if (socket.alpnProtocol === "h2") this.#startHttp2(connection);
      else this.#sniff(connection);
    });
    return acceptHttp1;
  }

  /**
   * Reads enough bytes to tell the protocol, puts them back, and hands the socket to its server.
   */
  #sniff(connection: Connection): void {
    const { socket } = connection;
    let head: Buffer = Buffer.alloc(0);
    const read = () => {
      const chunk = socket.read() as Buffer | null;
      if (chunk === null) return;
      head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
      const length = Math.min(head.length, prefaceLine.length);
      const isPreface = head.compare(prefaceLine, 0, length, 0, length) === 0;
      if (isPreface && length < prefaceLine.length) return;
      socket.off("readable", read).off("end", hangUp);
      socket.unshift(head);
      // With TLS, HTTP/2 is agreed on by ALPN only (RFC 9113 section 3.2).
      if (isPreface && this.#options.tls === undefined) this.#startHttp2(connection);
      else this.#startHttp1(connection);
    };
    const hangUp = () => socket.destroy();
    socket.on("readable", read).on("end", hangUp);
  }

  #startHttp1(connection: Connection): void {
    const { socket } = connection;
    delete connection.deadline;
    watchHalfClosed(connection, this.#limits.answerTimeoutMs);
    this.#acceptHttp1(socket);
    // First, because node's listener parses. A further listener makes node read by the socket's
    // events; otherwise it reads the handle, and no event occurs.
    socket.prependListener("data", (chunk: Buffer) =>
      this.#connections.keepHead(connection, chunk),
    );
  }

  #startHttp2(connection: Connection): void {
    // Otherwise the session outlives the client's FIN.
    connection.socket.allowHalfOpen = false;
    this.#http2.once("session", (session) => this.#connections.startHttp2(connection, session));
    this.#http2.emit("connection", connection.socket);
  }
}

/** The peer of a connection. With TLS the request has another socket than the accepted one. */
function peerOf({ remoteAddress, remotePort }: Socket): { address: string; port: string } {
  const address = remoteAddress ?? "";
  return { address, port: `${address} ${remotePort ?? ""}` };
}

function takeListener(server: HttpServer | HttpsServer, event: string): Accept {
  const [listener] = server.listeners(event);
  if (listener === undefined) throw new Error(`the server has no listener for ${event}`);
  server.removeAllListeners(event);
  return (socket) => void listener.call(server, socket);
}
