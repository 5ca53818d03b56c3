/** gRPC-Web's text format, by Google's own web client on an XMLHttpRequest, and by hand where it sends no such thing. */
import { createRequire } from "node:module";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { decodeJwt } from "jose";
import {
  IssueTokenRequestSchema,
  IssueTokenResponseSchema,
  LoginRequestSchema,
  LoginResponseSchema,
} from "../../gen/auth/v1/auth_pb.js";
import {
  HealthCheckRequestSchema,
  HealthCheckResponseSchema,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../../gen/grpc/health/v1/health_pb.js";
import { envelope } from "../support/grpc.js";
import { basic, createHttpClient, type HttpClient } from "../support/http.js";
import { startService, type RunningService } from "../support/service.js";

const require = createRequire(import.meta.url);
const { XMLHttpRequest } = require("xhr2") as { XMLHttpRequest: unknown };
Object.assign(globalThis, { XMLHttpRequest });
const { GrpcWebClientBase, MethodDescriptor } = require("grpc-web") as typeof import("grpc-web");

const loginPath = "/auth.v1.AuthService/Login";
const right = create(LoginRequestSchema, { username: "TestUser", password: "password" });
const textType = "application/grpc-web-text";

const rpc = (
  path: string,
  type: string,
  request: Parameters<typeof toBinary>[0],
  response: Parameters<typeof fromBinary>[0],
) =>
  new MethodDescriptor<unknown, unknown>(
    path,
    type,
    Object,
    Object,
    (message: never) => toBinary(request, message),
    (bytes: Uint8Array) => fromBinary(response, bytes),
  );
const login = rpc(loginPath, "unary", LoginRequestSchema, LoginResponseSchema);
const issuePath = "/auth.v1.AuthService/IssueToken";
const issueToken = rpc(issuePath, "unary", IssueTokenRequestSchema, IssueTokenResponseSchema);
const watchPath = "/grpc.health.v1.Health/Watch";
const watch = rpc(
  watchPath,
  "server_streaming",
  HealthCheckRequestSchema,
  HealthCheckResponseSchema,
);

describe.each([
  ["our unary rpcs", true],
  ["Connect's own", false],
])("%s", (_, fastUnary) => {
  let service: RunningService;
  let client: HttpClient;
  beforeAll(async () => {
    service = await startService({}, undefined, { fastUnary });
    client = createHttpClient(service.url);
  });
  afterAll(async () => {
    client.close();
    await service.close();
  });
  const google = new GrpcWebClientBase({ format: "text" });
  const call = (method: typeof login, message: unknown, metadata = {}) =>
    new Promise((resolve, reject) => {
      const url = service.url + method.getName();
      google.rpcCall(url, message, metadata, method, (error, answer) => {
        // null, whatever its types say.
        if (error as unknown) reject(error);
        else resolve(answer);
      });
    });

  test("logs in and renews", async () => {
    const { accessToken } = (await call(login, right)) as { accessToken: string };
    expect(decodeJwt(accessToken).sub).toBe("1");
    const renewed = await call(issueToken, create(IssueTokenRequestSchema), {
      authorization: basic("TestUser", "password"),
    });
    expect(decodeJwt((renewed as { accessToken: string }).accessToken).sub).toBe("1");
  });

  test("tells errors by their code", async () => {
    const wrong = create(LoginRequestSchema, { ...right, password: "Password" });
    await expect(call(login, wrong)).rejects.toMatchObject({
      code: 16,
      message: "invalid credentials",
    });
    const nope = rpc("/auth.v1.AuthService/Nope", "unary", LoginRequestSchema, LoginResponseSchema);
    await expect(call(nope, right)).rejects.toMatchObject({ code: 12 });
  });

  test("streams", async () => {
    const stream = google.serverStreaming(
      service.url + watchPath,
      create(HealthCheckRequestSchema),
      // This XMLHttpRequest shows a body when it is whole, and a watch never ends by itself.
      { deadline: String(Date.now() + 1000) },
      watch,
    );
    const statuses: ServingStatus[] = [];
    const code = await new Promise((resolve) => {
      stream.on("data", (message) => statuses.push((message as { status: ServingStatus }).status));
      stream.on("error", (error) => resolve(error.code));
    });
    expect([statuses, code]).toEqual([[ServingStatus.SERVING], 4]);
  });

  test("a stream's message comes before the next one is there", async () => {
    const leave = new AbortController();
    const { body } = await fetch(service.url + watchPath, {
      method: "POST",
      headers: { "content-type": textType },
      body: base64(envelope("")),
      signal: leave.signal,
    });
    const piece = (await body?.getReader().read()) as { value?: Uint8Array } | undefined;
    leave.abort();
    const message = envelope(Buffer.from([8, ServingStatus.SERVING]));
    expect(Buffer.from(piece?.value ?? []).toString()).toBe(base64(message));
  });

  const sent = envelope(toBinary(LoginRequestSchema, right));
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
  test.each([
    ["in one piece", base64(sent)],
    ["a padded piece each byte", [...sent].map((byte) => base64(Buffer.from([byte]))).join("")],
    ["head and message apart", base64(sent.subarray(0, 5)) + base64(sent.subarray(5))],
  ])("reads a body %s, answers in base64 with the status last", async (_, body) => {
    const reply = await client.call(loginPath, { headers: { "content-type": textType }, body });
    expect(reply.headers["content-type"]).toMatch(/^application\/grpc-web-text(\+proto)?$/);
    expect(reply.body).toMatch(/^(?:[\w+/]{4}|[\w+/]{3}=|[\w+/]{2}==)+$/);
    const bytes = Buffer.concat(
      (reply.body.match(/[^=]+=*/g) ?? []).map((piece) => Buffer.from(piece, "base64")),
    );
    expect(bytes.toString("latin1")).toMatch(/^\0\0\0[^]+\x80\0\0\0[^]grpc-status: 0\r\n$/);
  });

  test.each([
    ["what is no base64", "AAAAAB!=", 3],
    ["an unpadded end", "AAAAA", 3],
    ["a message over 64 KiB", base64(envelope(Buffer.alloc(65_537))), 8],
    ["a body over twice that", "AAAA".repeat(50_000), 8],
  ])("refuses %s", async (_, body, code) => {
    const reply = await client.call(loginPath, { headers: { "content-type": textType }, body });
    expect(Buffer.from(reply.body, "base64").toString("latin1")).toContain(`grpc-status: ${code}`);
  });
});
