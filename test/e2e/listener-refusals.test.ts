/** What the listener refuses by itself reads as the path has it, over both HTTP versions and over gRPC. */
import { connect } from "node:http2";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { callGrpc, envelope } from "../support/grpc.js";
import { fetchHttp2, openSocket } from "../support/listener.js";
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
const phrases = { 408: "Request Timeout", 431: "Request Header Fields Too Large" } as const;

let service: RunningService;
/** The answers to requests that are never finished. The server waits 10 s for each, so all stall at once. */
let stalled: Map<string, readonly { readonly status: unknown; readonly body: string }[]>;
let stalledGrpc: unknown;
beforeAll(async () => {
  service = await startService();
  const all = Object.keys(paths).map(async (path) => [path, await stall(path)] as const);
  [stalledGrpc, stalled] = await Promise.all([
    stallGrpc(),
    Promise.all(all).then((rows) => new Map(rows)),
  ]);
});
afterAll(() => service.close());

async function overHttp1(text: string): Promise<{ status: number; body: string; head: string }> {
  const { socket, closed } = openSocket(Number(new URL(service.url).port));
  socket.write(text);
  const [head = "", body = ""] = (await closed).toString().split("\r\n\r\n");
  return { status: Number(head.split(" ")[1]), body, head };
}

const methodOf = (path: string) => (path.endsWith(".json") ? "GET" : "POST");

async function stall(path: string) {
  const head =
    `${methodOf(path)} ${path} HTTP/1.1\r\nhost: a\r\n` +
    "content-type: application/json\r\ncontent-length: 9\r\n";
  if (methodOf(path) === "GET") return [await overHttp1(head)];
  return Promise.all([overHttp1(head), overHttp1(`${head}\r\nhalf`), stallHttp2(path)]);
}

async function stallHttp2(path: string): Promise<{ status: unknown; body: string }> {
  const session = connect(service.url);
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
  const session = connect(service.url);
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

describe.each(Object.entries(paths))("%s", (path, shape) => {
  const method = methodOf(path);

  test("431 over HTTP/1.1, in one packet and in many, and over HTTP/2", async () => {
    const long = "x".repeat(20_000);
    const request = `${method} ${path}?a=b HTTP/1.1\r\nhost: a\r\nx: ${long}\r\n\r\n`;
    const { status, body, head } = await overHttp1(request);
    expect(status).toBe(431);
    expect(head).toMatch(/\r\nx-request-id: [\w-]{36}\r\n/);
    expect(JSON.parse(body)).toMatchObject(shape(431, phrases[431]));
    const session = connect(service.url);
    const answer = await fetchHttp2(session, { ":method": method, ":path": path, x: long });
    session.destroy();
    expect(answer.status).toBe(431);
    expect(JSON.parse(answer.body)).toMatchObject(shape(431, phrases[431]));
  });

  test("408 over HTTP/1.1, in the headers and in the body, and over HTTP/2", () => {
    expect(stalled.get(path)).toHaveLength(method === "GET" ? 1 : 3);
    for (const answer of stalled.get(path) ?? []) {
      expect(answer.status).toBe(408);
      expect(JSON.parse(answer.body)).toMatchObject(shape(408, phrases[408]));
    }
  });
});

test("gRPC: an over-long credential is unauthenticated, in the bytes of any other", async () => {
  const issuePath = "/auth.v1.AuthService/IssueToken";
  const call = (authorization: string) =>
    callGrpc(service.url, issuePath, envelope(""), { authorization });
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
