/**
 * What the listener refuses by itself reads as the path has it: over both HTTP versions and gRPC, with TLS and
 * without, for every request of a connection.
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
  "/auth.v1.AuthService/Login": (status: number) => ({ code: codes[status] }),
} as const;
const codes: Readonly<Record<number, string>> = {
  400: "invalid_argument",
  408: "deadline_exceeded",
  413: "resource_exhausted",
  417: "invalid_argument",
  431: "resource_exhausted",
  501: "unimplemented",
};
const big = "x".repeat(70_000);
const phrases = {
  400: "Bad Request",
  417: "Expectation Failed",
  501: "Not Implemented",
  413: "Content Too Large",
  408: "Request Timeout",
  431: "Request Header Fields Too Large",
} as const;

const schemes = ["http", "https"] as const;
type Scheme = (typeof schemes)[number];
const get = "GET /.well-known/jwks.json HTTP/1.1\r\nhost: a\r\n\r\n";
const wrong = '{"username":"TestUser","password":"no"}';
const post = `POST /api/v1/authentication/login HTTP/1.1\r\nhost: a\r\ncontent-length: ${wrong.length}\r\n\r\n${wrong}`;
const chunked = `POST /api/v1/authentication/login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n`;
/** What the connection has carried before. */
const earlier = {
  "the first request": [],
  "the second one": [get],
  "the third one": [post, chunked],
} as const;

let services: Record<Scheme, RunningService>;
/** The answers to requests that are never finished. The server waits 10 s for each, so all stall at once. */
let stalled: Map<string, readonly { readonly status: unknown; readonly body: string }[]>;
let stalledGrpc: unknown;
let stalledPipelined: { readonly body: string };
beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), "latchkey-refusals-"));
  const { cert, key } = makeCertificate("localhost");
  const files = { TLS_CERT_FILE: join(folder, "cert.pem"), TLS_KEY_FILE: join(folder, "key.pem") };
  await Promise.all([writeFile(files.TLS_CERT_FILE, cert), writeFile(files.TLS_KEY_FILE, key)]);
  services = { http: await startService(), https: await startService(files) };
  await rm(folder, { recursive: true });
  const all = schemes.flatMap((scheme) =>
    Object.keys(paths).map(async (path) => {
      const answers = Object.values(earlier).map((before) => stall(scheme, path, before));
      return [scheme + path, (await Promise.all(answers)).flat()] as const;
    }),
  );
  [stalledGrpc, stalledPipelined, stalled] = await Promise.all([
    stallGrpc(),
    overHttp1("http", `${post}POST /api/auth/token HTTP/1.1\r\n`),
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
  const [head = "", body = ""] = received.split("\r\n\r\n").slice(-2);
  return { status: Number(head.split(" ")[1]), body, head };
}

const methodOf = (path: string) => (path.endsWith(".json") ? "GET" : "POST");

async function stall(scheme: Scheme, path: string, before: readonly string[]) {
  const head =
    `${methodOf(path)} ${path} HTTP/1.1\r\nhost: a\r\n` +
    "content-type: application/json\r\ncontent-length: 9\r\n";
  const inHead = overHttp1(scheme, head, before);
  if (methodOf(path) === "GET") return [await inHead];
  const inBody = overHttp1(scheme, `${head}\r\nhalf`, before);
  return Promise.all([inHead, inBody, stallHttp2(scheme, path, before.length)]);
}

async function stallHttp2(
  scheme: Scheme,
  path: string,
  before: number,
): Promise<{ status: unknown; body: string }> {
  const session = open(scheme);
  for (let i = 0; i < before; i++) await fetchHttp2(session, { ":path": "/.well-known/jwks.json" });
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
      expect(JSON.parse(body)).toMatchObject(shape(431, phrases[431]));
      const session = open(scheme);
      if (before.length > 0) await fetchHttp2(session, { ":path": "/.well-known/jwks.json" });
      const answer = await fetchHttp2(session, { ":method": method, ":path": path, x: long });
      session.destroy();
      expect(answer.status).toBe(431);
      expect(JSON.parse(answer.body)).toMatchObject(shape(431, phrases[431]));
    },
  );

  const malformed = [
    ["no host", 400, `${method} ${path} HTTP/1.1\r\n\r\n`],
    ["a header without a colon", 400, `${method} ${path} HTTP/1.1\r\nhost: a\r\nx\r\n\r\n`],
    ["a target in absolute form", 400, `${method} http://a${path} HTTP/1.1\r\n: a\r\n\r\n`],
    ["an unknown version", 400, `${method} ${path} HTTP/9.9\r\nhost: a\r\n\r\n`],
    ["an expectation", 417, `${method} ${path} HTTP/1.1\r\nhost: a\r\nexpect: a\r\n\r\n`],
    [
      "a transfer coding",
      501,
      `${method} ${path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n`,
    ],
  ] as const;
  test.each(malformed)("%s is %d over HTTP/1.1", async (_, expected, request) => {
    for (const before of Object.values(earlier)) {
      const { status, body } = await overHttp1(scheme, request, before);
      expect(status).toBe(expected);
      // Where no content-type says that it is an rpc, the path does.
      expect(JSON.parse(body)).toMatchObject(shape(expected, phrases[expected]));
    }
  });

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
    expect(stalled.get(scheme + path)).toHaveLength(method === "GET" ? 3 : 9);
    for (const answer of stalled.get(scheme + path) ?? []) {
      expect(answer.status).toBe(408);
      expect(JSON.parse(answer.body)).toMatchObject(shape(408, phrases[408]));
    }
  });
});

test("the answer to a stalled request that was sent together with the one before", () => {
  expect(JSON.parse(stalledPipelined.body)).toMatchObject({ path: "/api/auth/token", status: 408 });
});

test("an answer to HEAD has no body, one to gRPC-Web has a status of gRPC", async () => {
  const rest = "HTTP/1.1\r\ncontent-type: application/grpc-web\r\n: \r\n\r\n";
  const head = await overHttp1("http", `HEAD /.well-known/jwks.json ${rest}`);
  expect(head).toMatchObject({ status: 400, body: "" });
  expect(head.head).toMatch(/\r\ncontent-length: [1-9]/);
  const web = await overHttp1("http", `POST /auth.v1.AuthService/Login ${rest}`);
  expect(web).toMatchObject({ status: 400, body: "" });
  expect(web.head).toMatch(/\r\ngrpc-status: 3\r\n/);
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
