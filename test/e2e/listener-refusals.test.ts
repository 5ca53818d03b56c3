/**
 * What the listener refuses by itself reads as the path has it: over both HTTP versions and gRPC, with TLS and
 * without, for the first request of a connection and, where the start of a later one is known, for that too.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:http2";
import { connect as connectTcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { makeCertificate } from "../support/certificates.js";
import { callGrpc, envelope } from "../support/grpc.js";
import { fetchHttp2, until } from "../support/listener.js";
import { startService, type RunningService } from "../support/service.js";

const paths = {
  "/api/auth/token": (status: number, error: string) => ({
    status,
    error,
    path: "/api/auth/token",
  }),
  "/api/v1/authentication/login": (_: number, error: string) => ({
    error: true,
    messages: [error],
  }),
  "/.well-known/jwks.json": (_: number, error: string) => ({ error }),
  "/auth.v1.AuthService/Login": (status: number) => ({
    code: status === 408 ? "deadline_exceeded" : "resource_exhausted",
  }),
} as const;
const big = "x".repeat(70_000);
const phrases = {
  413: "Content Too Large",
  408: "Request Timeout",
  431: "Request Header Fields Too Large",
} as const;

const schemes = ["http", "https"] as const;
type Scheme = (typeof schemes)[number];
/** What the connection has carried before. */
const earlier = {
  "the first request": [],
  "a later one": ["GET /.well-known/jwks.json HTTP/1.1\r\nhost: a\r\n\r\n"],
} as const;

let services: Record<Scheme, RunningService>;
/** The answers to requests that are never finished. The server waits 10 s for each, so all stall at once. */
let stalled: Map<string, readonly { readonly status: unknown; readonly body: string }[]>;
let stalledGrpc: unknown;
beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), "latchkey-refusals-"));
  const { cert, key } = makeCertificate("localhost");
  const files = { TLS_CERT_FILE: join(folder, "cert.pem"), TLS_KEY_FILE: join(folder, "key.pem") };
  await Promise.all([writeFile(files.TLS_CERT_FILE, cert), writeFile(files.TLS_KEY_FILE, key)]);
  services = { http: await startService(), https: await startService(files) };
  await rm(folder, { recursive: true });
  const all = schemes.flatMap((scheme) =>
    Object.keys(paths).map(async (path) => [scheme + path, await stall(scheme, path)] as const),
  );
  [stalledGrpc, stalled] = await Promise.all([
    stallGrpc(),
    Promise.all(all).then((rows) => new Map(rows)),
  ]);
}, 60_000);
afterAll(() => Promise.all(schemes.map((scheme) => services[scheme].close())));

const open = (scheme: Scheme) => connect(urlOf(scheme), { rejectUnauthorized: false });
const urlOf = (scheme: Scheme) => `${scheme}://127.0.0.1:${new URL(services[scheme].url).port}`;

async function overHttp1(
  scheme: Scheme,
  text: string,
  before: readonly string[] = [],
): Promise<{ status: number; body: string; head: string }> {
  const address = { host: "127.0.0.1", port: Number(new URL(services[scheme].url).port) };
  const socket =
    scheme === "http"
      ? connectTcp(address)
      : connectTls({ ...address, rejectUnauthorized: false, ALPNProtocols: ["http/1.1"] });
  let received = "";
  socket.on("error", () => undefined).on("data", (chunk: Buffer) => (received += chunk.toString()));
  for (const request of before) {
    socket.write(request);
    await until(() => received.endsWith("}"));
    received = "";
  }
  const closed = new Promise((resolve) => socket.on("close", resolve));
  socket.write(text);
  await closed;
  const [head = "", body = ""] = received.split("\r\n\r\n");
  return { status: Number(head.split(" ")[1]), body, head };
}

const methodOf = (path: string) => (path.endsWith(".json") ? "GET" : "POST");

async function stall(scheme: Scheme, path: string) {
  const head =
    `${methodOf(path)} ${path} HTTP/1.1\r\nhost: a\r\n` +
    "content-type: application/json\r\ncontent-length: 9\r\n";
  if (methodOf(path) === "GET") return [await overHttp1(scheme, head)];
  const half = overHttp1(scheme, `${head}\r\nhalf`);
  return Promise.all([overHttp1(scheme, head), half, stallHttp2(scheme, path)]);
}

async function stallHttp2(
  scheme: Scheme,
  path: string,
): Promise<{ status: unknown; body: string }> {
  const session = open(scheme);
  const headers = { ":method": "POST", ":path": path, "content-type": "application/json" };
  const stream = session.request(headers, { endStream: false });
  stream.write("{");
  let status: unknown;
  let body = "";
  stream.on("response", (answer) => (status = answer[":status"]));
  stream.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
  await new Promise((resolve) => stream.on("error", () => undefined).on("close", resolve));
  session.destroy();
  return { status, body };
}

async function stallGrpc(): Promise<unknown> {
  const session = open("http");
  const stream = session.request({
    ":method": "POST",
    ":path": "/auth.v1.AuthService/Login",
    "content-type": "application/grpc",
  });
  stream.write(Buffer.from([0]));
  const headers = await new Promise((resolve) => stream.once("response", resolve));
  stream.on("error", () => undefined).close();
  session.destroy();
  return headers;
}

const rows = schemes.flatMap((scheme) =>
  Object.entries(paths).map(([path, shape]) => [scheme, path, shape] as const),
);
describe.each(rows)("%s %s", (scheme, path, shape) => {
  const method = methodOf(path);
  const long = "x".repeat(20_000);

  test.each(Object.entries(earlier))(
    "431 over HTTP/1.1 and over HTTP/2 for %s",
    async (_, before) => {
      const request = `${method} ${path}?a=b HTTP/1.1\r\nhost: a\r\nx: ${long}\r\n\r\n`;
      const { status, body, head } = await overHttp1(scheme, request, before);
      expect(status).toBe(431);
      expect(head).toMatch(/\r\nx-request-id: [\w-]{36}\r\n/);
      // TLS brings a later one in pieces, and Node tells only of the last.
      const isKnown = scheme === "http" || before.length === 0;
      if (isKnown) expect(JSON.parse(body)).toMatchObject(shape(431, phrases[431]));
      const session = open(scheme);
      if (before.length > 0) await fetchHttp2(session, { ":path": "/.well-known/jwks.json" });
      const answer = await fetchHttp2(session, { ":method": method, ":path": path, x: long });
      session.destroy();
      expect(answer.status).toBe(431);
      expect(JSON.parse(answer.body)).toMatchObject(shape(431, phrases[431]));
    },
  );

  test("413 over HTTP/1.1 and over HTTP/2", async () => {
    if (method === "GET") return;
    const headers = { ":method": method, ":path": path, "content-type": "application/json" };
    const session = open(scheme);
    const answer = await fetchHttp2(session, { ...headers, "content-length": 70_000 }, big);
    session.destroy();
    const request = `${method} ${path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 70000\r\n\r\n${big}`;
    for (const before of Object.values(earlier)) {
      for (const { status, body } of [answer, await overHttp1(scheme, request, before)]) {
        expect(status).toBe(path.startsWith("/auth.v1") ? 429 : 413);
        expect(JSON.parse(body)).toMatchObject(shape(413, phrases[413]));
      }
    }
  });

  test("408 over HTTP/1.1, in the headers and in the body, and over HTTP/2", () => {
    expect(stalled.get(scheme + path)).toHaveLength(method === "GET" ? 1 : 3);
    for (const answer of stalled.get(scheme + path) ?? []) {
      expect(answer.status).toBe(408);
      expect(JSON.parse(answer.body)).toMatchObject(shape(408, phrases[408]));
    }
  });
});

test("gRPC: an over-long credential is unauthenticated, in the bytes of any other", async () => {
  const issuePath = "/auth.v1.AuthService/IssueToken";
  const call = (authorization: string) =>
    callGrpc(urlOf("http"), issuePath, envelope(""), { authorization });
  const [short, long] = await Promise.all([call("Bearer a"), call(`Bearer ${"a".repeat(20_000)}`)]);
  const shown = ({ headers }: typeof short) => [
    headers[":status"],
    headers["grpc-status"],
    headers["grpc-message"],
  ];
  expect(shown(long)).toEqual(shown(short));
  expect(shown(long)).toEqual([200, "16", "invalid%20credentials"]);
});

test("gRPC: a stalled body is deadline_exceeded", () => {
  expect(stalledGrpc).toMatchObject({ ":status": 200, "grpc-status": "4" });
});
