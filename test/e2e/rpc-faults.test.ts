/** Requests that no generated client sends: what is wrong is said in our words, and nothing is quoted. */
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { toBinary, create } from "@bufbuild/protobuf";
import { LoginRequestSchema } from "../../gen/auth/v1/auth_pb.js";
import { callGrpc, envelope } from "../support/grpc.js";
import { createHttpClient, type HttpClient } from "../support/http.js";
import { startService, type RunningService } from "../support/service.js";

const path = "/auth.v1.AuthService/Login";
const secret = "canary-5up3r";

let service: RunningService;
let client: HttpClient;
beforeAll(async () => {
  service = await startService();
  client = createHttpClient(service.url);
});
afterAll(async () => {
  client.close();
  await service.close();
});

const right = create(LoginRequestSchema, { username: "TestUser", password: "password" });

/** Bodies that hold no LoginRequest, by encoding. */
const unparsable: readonly (readonly [string, "json" | "proto", Uint8Array | string])[] = [
  ["what is not JSON", "json", `{"username":"TestUser","password":"${secret}"`],
  ["a bad escape before an emoji", "json", `{"username":"\\😀","password":"${secret}"}`],
  ["an unpaired surrogate", "json", `{"username":"\\ud83d","password":"${secret}"}`],
  ["a repeated member", "json", `{"username":"a","username":"b","password":"${secret}"}`],
  ["a field of the wrong type", "json", `{"username":{"a":"${secret}"},"password":"b"}`],
  ["an array", "json", `["${secret}"]`],
  [
    "what is not UTF-8",
    "json",
    Buffer.from(`{"username":"\xff","password":"${secret}"}`, "latin1"),
  ],
  ["a byte order mark", "json", `\ufeff{"username":"TestUser","password":"password"}`],
  ["a truncated message", "proto", toBinary(LoginRequestSchema, right).subarray(0, -3)],
  ["a field of the wrong wire type", "proto", Buffer.from([0x08, 0x01, 0xff])],
  ["a string that is not UTF-8", "proto", Buffer.from([0x0a, 0x01, 0xff])],
];

describe.each(unparsable)("a body with %s (%s)", (_, encoding, body) => {
  test("Connect answers invalid_argument", async () => {
    const headers = { "content-type": `application/${encoding}` };
    const reply = await client.call(path, { headers, body });
    expect(reply.status).toBe(400);
    expect(JSON.parse(reply.body)).toEqual({
      code: "invalid_argument",
      message: "the request message cannot be parsed",
    });
    expect(reply.headers["x-request-id"]).toBeTruthy();
  });

  test("gRPC answers INVALID_ARGUMENT", async () => {
    const headers = { "content-type": `application/grpc+${encoding}` };
    const reply = await callGrpc(service.url, path, envelope(body), headers);
    expect({ ...reply.headers, ...reply.trailers }).toMatchObject({
      "grpc-status": "3",
      "grpc-message": "the%20request%20message%20cannot%20be%20parsed",
    });
    expect(reply.headers["x-request-id"]).toBeTruthy();
  });

  test("gRPC-Web answers INVALID_ARGUMENT", async () => {
    const headers = { "content-type": `application/grpc-web+${encoding}` };
    const reply = await client.call(path, { headers, body: envelope(body) });
    expect(reply.status).toBe(200);
    expect(reply.body).toContain("grpc-status: 3");
    expect(reply.body).not.toContain(secret);
  });
});

describe("headers", () => {
  test.each([
    ["an unknown compression", { "content-encoding": secret }, "unimplemented"],
    ["a malformed deadline", { "connect-timeout-ms": secret }, "invalid_argument"],
  ])("%s is refused without being quoted", async (_, extra, code) => {
    const headers = { "content-type": "application/json", ...extra };
    const reply = await client.call(path, { headers, body: "{}" });
    expect(JSON.parse(reply.body)).toMatchObject({ code });
    expect(reply.body).not.toContain(secret);
  });

  test("a deadline longer than any timer is no deadline", async () => {
    const headers = { "content-type": "application/json", "connect-timeout-ms": "9999999999" };
    const body = JSON.stringify({ username: "TestUser", password: "password" });
    expect((await client.call(path, { headers, body })).status).toBe(200);
  });

  test("a deadline that passes is answered so", async () => {
    const message = envelope(toBinary(LoginRequestSchema, right));
    const reply = await callGrpc(service.url, path, message, { "grpc-timeout": "1n" });
    expect({ ...reply.headers, ...reply.trailers }).toMatchObject({ "grpc-status": "4" });
  });

  test("an unknown content type gets 415", async () => {
    const reply = await client.call(path, { headers: { "content-type": "text/plain" }, body: "a" });
    expect(reply.status).toBe(415);
  });

  test("GET gets 405", async () => {
    expect((await client.call(path, { method: "GET" })).status).toBe(405);
  });
});

describe("compression", () => {
  test("a gzipped message is read", async () => {
    const headers = { "content-type": "application/json", "content-encoding": "gzip" };
    const body = gzipSync(JSON.stringify({ username: "TestUser", password: "password" }));
    expect((await client.call(path, { headers, body })).status).toBe(200);
  });

  test("one that grows beyond the limit is refused", async () => {
    const headers = { "content-type": "application/json", "content-encoding": "gzip" };
    const body = gzipSync(`{"username":"${"a".repeat(10_000_000)}"}`);
    const reply = await client.call(path, { headers, body });
    expect(JSON.parse(reply.body)).toMatchObject({ code: "resource_exhausted" });
  });
});

describe("an rpc that is not there", () => {
  test("is unimplemented over Connect", async () => {
    const headers = { "content-type": "application/json" };
    const reply = await client.call("/auth.v1.AuthService/Nope", { headers, body: "{}" });
    expect([reply.status, JSON.parse(reply.body)]).toEqual([
      404,
      { code: "unimplemented", message: "no such rpc" },
    ]);
  });

  test("is UNIMPLEMENTED over gRPC", async () => {
    const reply = await callGrpc(service.url, "/auth.v1.Nope/Nope", envelope(""));
    expect({ ...reply.headers, ...reply.trailers }).toMatchObject({
      ":status": 200,
      "grpc-status": "12",
    });
  });
});
