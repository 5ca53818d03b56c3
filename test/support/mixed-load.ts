/**
 * A load that is mixed over protocols and real clients. Each request is sent at its time, unless so
 * many are open that the machine is too slow; its outcome is recorded. One in three renews a token,
 * the others need no store.
 */
import { Agent as HttpAgent, request as requestHttp } from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { AuthService } from "../../gen/auth/v1/auth_pb.js";
import { Health } from "../../gen/grpc/health/v1/health_pb.js";

export interface Target {
  readonly cleartextPort: number;
  readonly tlsPort: number;
  /** The certificate of the TLS port, for `localhost`. */
  readonly certificate: string;
  readonly token: string;
}

export interface Fates {
  sent: number;
  answered: number;
  /** Why the other requests failed. */
  readonly lost: string[];
}

export interface MixedLoad {
  readonly fates: ReadonlyMap<string, Fates>;
  /** Requests that met the end of an idle HTTP/1.1 connection and were repeated. */
  repeated(): number;
  /** Sends no more. Resolves when every request that was sent has ended. */
  stop(): Promise<void>;
}

/** A request without an answer after this time is lost. */
const deadlineMs = 120_000;
const connectionsPerClient = 4;
const openMax = 48;
const tickMs = 5;

interface Sender {
  /** Renews the token, or asks for something that the server has in memory. */
  send(isRenewal: boolean): Promise<unknown>;
  close(): void;
}

export function startMixedLoad(target: Target, requestsPerSecond: number): MixedLoad {
  let repeated = 0;
  const senders = Object.entries(sendersOf(target, () => repeated++));
  const fates = new Map(
    senders.map(([name]) => [name, { sent: 0, answered: 0, lost: [] as string[] }]),
  );
  const open = new Set<Promise<void>>();
  const startedAt = performance.now();
  let due = startedAt;
  let sent = 0;

  function sendNext(): void {
    const [name, sender] = senders[sent++ % senders.length] ?? [];
    const fate = fates.get(name ?? "");
    if (fate === undefined || sender === undefined) return;
    fate.sent++;
    const sentAt = performance.now();
    const settled = sender.send(fate.sent % 3 === 0).then(
      () => {
        fate.answered++;
      },
      (error: unknown) => {
        const [at, until] = [sentAt, performance.now()].map((ms) => Math.round(ms - startedAt));
        fate.lost.push(`${String(error)}, from ${at} to ${until} ms`);
      },
    );
    open.add(settled);
    void settled.then(() => open.delete(settled));
  }
  const timer = setInterval(() => {
    for (; due <= performance.now(); due += 1000 / requestsPerSecond) {
      if (open.size < openMax) sendNext();
    }
  }, tickMs);

  return {
    fates,
    repeated: () => repeated,
    async stop() {
      clearInterval(timer);
      await Promise.all(open);
      for (const [, sender] of senders) sender.close();
    },
  };
}

function sendersOf(
  { cleartextPort, tlsPort, certificate, token }: Target,
  onRepeated: () => void,
): Record<string, Sender> {
  const cleartextUrl = `http://127.0.0.1:${cleartextPort}`;
  const tlsUrl = `https://127.0.0.1:${tlsPort}`;
  const tls = { ca: certificate, servername: "localhost" };
  const authorization = `Bearer ${token}`;
  const ssl = credentials.createSsl(Buffer.from(certificate));
  return {
    "HTTP/1.1, REST": restSender(cleartextUrl, authorization, onRepeated),
    "h2c, Connect": inTurn(() => connectSender(cleartextUrl, authorization)),
    "h2c, gRPC": inTurn(() =>
      grpcSender(cleartextPort, authorization, credentials.createInsecure()),
    ),
    "TLS, HTTP/1.1, REST": restSender(tlsUrl, authorization, onRepeated, tls),
    "TLS, HTTP/2, Connect": inTurn(() => connectSender(tlsUrl, authorization, tls)),
    "TLS, HTTP/2, gRPC": inTurn(() => grpcSender(tlsPort, authorization, ssl)),
  };
}

function inTurn(createSender: () => Sender): Sender {
  const senders = Array.from({ length: connectionsPerClient }, createSender);
  let turn = 0;
  return {
    send: async (isRenewal) => senders[turn++ % senders.length]?.send(isRenewal),
    close: () => senders.forEach((sender) => sender.close()),
  };
}

function restSender(
  baseUrl: string,
  authorization: string,
  onRepeated: () => void,
  tls?: object,
): Sender {
  // Connections take turns, so that none is idle for long: a request may be on its way when the
  // server closes an idle one.
  const pool = {
    keepAlive: true,
    maxSockets: 4 * connectionsPerClient,
    scheduling: "fifo",
  } as const;
  const agent = tls === undefined ? new HttpAgent(pool) : new HttpsAgent({ ...pool, ...tls });
  const request = tls === undefined ? requestHttp : requestHttps;
  const send = (isRenewal: boolean): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const url = new URL(isRenewal ? "/api/auth/token" : "/.well-known/jwks.json", baseUrl);
      const method = isRenewal ? "POST" : "GET";
      const signal = AbortSignal.timeout(deadlineMs);
      const req = request(url, { agent, method, headers: { authorization }, signal }, (res) => {
        res.once("error", reject).resume();
        res.once("end", () => {
          if (res.statusCode === 200) resolve(undefined);
          else reject(new Error(`status ${res.statusCode}`));
        });
      });
      req.once("error", (error: NodeJS.ErrnoException) => {
        // Node leaves it to the caller to repeat a request that met the end of an idle connection
        // (RFC 9112 section 9.5).
        if (req.reusedSocket && error.code === "ECONNRESET") {
          onRepeated();
          resolve(send(isRenewal));
        } else reject(error);
      });
      req.end();
    });
  return {
    send,
    close: () => agent.destroy(),
  };
}

/**
 * Node 24.20 and 26.3 may report an answer that has arrived whole as failed:
 * https://github.com/nodejs/node/issues/65677
 */
const hasPrematureClose = Number(process.versions.node.split(".")[0]) >= 24;

/**
 * Connect's client leaves it to the caller to repeat a request that a GOAWAY refused (RFC 9113
 * section 6.8): the server has not processed its stream, which often has not even left the client.
 */
function connectSender(baseUrl: string, authorization: string, tls?: object): Sender {
  const sessionManager = new Http2SessionManager(baseUrl, undefined, tls);
  const transport = createConnectTransport({ baseUrl, httpVersion: "2", sessionManager });
  const auth = createClient(AuthService, transport);
  const health = createClient(Health, transport);
  const options = { headers: { authorization }, timeoutMs: deadlineMs };
  const call = (isRenewal: boolean): Promise<unknown> =>
    isRenewal ? auth.issueToken({}, options) : health.check({}, options);
  const send = (isRenewal: boolean): Promise<unknown> =>
    call(isRenewal).catch((error: unknown) => {
      const reason = String(error);
      if (hasPrematureClose && reason.includes("ERR_STREAM_PREMATURE_CLOSE")) return undefined;
      if (!reason.includes("NGHTTP2_REFUSED_STREAM")) throw error;
      return send(isRenewal);
    });
  return {
    send,
    close: () => sessionManager.abort(),
  };
}

function grpcSender(
  port: number,
  authorization: string,
  channel: ReturnType<typeof credentials.createSsl>,
): Sender {
  const client = new Client(`127.0.0.1:${port}`, channel, {
    "grpc.ssl_target_name_override": "localhost",
    // A connection of its own for each client.
    "grpc.use_local_subchannel_pool": 1,
  });
  const metadata = new Metadata();
  metadata.set("authorization", authorization);
  return {
    send: (isRenewal) =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          isRenewal ? "/auth.v1.AuthService/IssueToken" : "/grpc.health.v1.Health/Check",
          // Both requests are empty.
          () => Buffer.alloc(0),
          (bytes) => bytes,
          {},
          metadata,
          { deadline: Date.now() + deadlineMs },
          (error, response) => (error === null ? resolve(response) : reject(error)),
        );
      }),
    close: () => client.close(),
  };
}
