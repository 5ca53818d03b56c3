/** What HTTP/1.1 demands of a server on every path, whatever the path then answers. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { toBinary, create } from "@bufbuild/protobuf";
import { LoginRequestSchema } from "../../gen/auth/v1/auth_pb.js";
import { envelope } from "../support/grpc.js";
import { basic } from "../support/http.js";
import { openSocket } from "../support/listener.js";
import { startService, type RunningService } from "../support/service.js";
import { bodyOf, everythingOn, surfaces, type Surface } from "../support/surfaces.js";

let service: RunningService;
beforeAll(async () => {
  service = await startService(everythingOn);
});
afterAll(() => service.close());

interface Sent extends Pick<Surface, "port" | "method" | "path"> {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** All that comes back, without what differs from answer to answer. */
async function answerOf({ port, method, path, headers, body }: Sent, how = {}): Promise<string> {
  const { prefix = "", isEnded = false }: { prefix?: string; isEnded?: boolean } = how;
  const { url, managementUrl } = service;
  const raw = openSocket(Number(new URL(port === "public" ? url : managementUrl).port), isEnded);
  const all = { host: "a", "content-length": String(body.length), ...headers };
  const lines = Object.entries(isEnded ? all : { ...all, connection: "close" });
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  raw.socket.write(`${method} ${prefix}${path} HTTP/1.1\r\n${head}\r\n`);
  raw.socket.write(body);
  if (isEnded) raw.socket.end();
  const answer = (await raw.closed).toString("latin1");
  return answer
    .replace(/^(date|x-request-id|connection|keep-alive): .*\r\n/gim, "")
    .replace(/"timestamp":"[^"]*"/, "")
    .replace(/[\da-f]+\r\n(# HELP|<!doctype html>)[^]*/i, "")
    .replace(/^etag: .*\r\n|eyJ[\w.-]+$/gm, "");
}

const rows = surfaces.map((surface) => {
  const { port, method, path, contentType } = surface;
  const sent: Sent = {
    ...{ port, method, path, headers: { "content-type": contentType } },
    body: bodyOf(surface, 100),
  };
  return [
    `${port === "public" ? "" : "management "}${method} ${path} ${contentType}`,
    sent,
  ] as const;
});

const credentials = { username: "TestUser", password: "password" };
const message = toBinary(LoginRequestSchema, create(LoginRequestSchema, credentials));
const post = (path: string, headers: Sent["headers"], body: Uint8Array | string = ""): Sent => ({
  ...{ port: "public", method: "POST", path, headers },
  body: Buffer.from(body),
});
const type = (name: string) => ({ "content-type": `application/${name}` });
const accepted: readonly (readonly [string, Sent])[] = [
  ["token", post("/api/auth/token", { authorization: basic("TestUser", "password") })],
  ["login", post("/api/v1/authentication/login", {}, JSON.stringify(credentials))],
  ["Connect", post("/auth.v1.AuthService/Login", type("json"), JSON.stringify(credentials))],
  ["gRPC", post("/auth.v1.AuthService/Login", type("grpc"), envelope(message))],
  ["gRPC-Web", post("/auth.v1.AuthService/Login", type("grpc-web"), envelope(message))],
  [
    "IssueToken",
    post(
      "/auth.v1.AuthService/IssueToken",
      { ...type("json"), authorization: basic("TestUser", "password") },
      "{}",
    ),
  ],
];

describe("a target in absolute form is its path", () => {
  test.each(rows)("%s", async (_, sent) => {
    expect(await answerOf(sent, { prefix: "http://other.example:81" })).toBe(await answerOf(sent));
  });

  test.each(accepted)("%s with credentials", async (_, sent) => {
    expect(await answerOf(sent, { prefix: "HTTPS://[::1]" })).toMatch(/^HTTP\/1.1 200 /);
  });
});

describe("who ends his side after his request gets the answer", () => {
  test.each(rows)("%s", async (_, sent) => {
    expect(await answerOf(sent, { isEnded: true })).toBe(await answerOf(sent));
  });

  test.each(accepted)("%s with credentials", async (_, sent) => {
    expect(await answerOf(sent, { isEnded: true })).toMatch(/^HTTP\/1.1 [12]00 /);
  });

  test("a watch: its first message", async () => {
    const raw = openSocket(Number(new URL(service.url).port), true);
    const head = "POST /grpc.health.v1.Health/Watch HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n";
    raw.socket.write(`${head}Content-Type: application/grpc-web\r\n\r\n\0\0\0\0\0`);
    raw.socket.end();
    const serving = Buffer.from([0, 0, 0, 0, 2, 8, 1]);
    await new Promise<void>((resolve) =>
      raw.socket.on("data", () => raw.received().includes(serving) && resolve()),
    );
  });
});

describe("two hosts, or a broken one, are refused", () => {
  test.each(rows)("%s", async (_, sent) => {
    for (const host of ["a\r\nhost: b", "a b"]) {
      const refused = { ...sent, headers: { ...sent.headers, host }, body: Buffer.alloc(0) };
      expect(await answerOf(refused)).toMatch(/^HTTP\/1.1 400 /);
    }
  });
});
