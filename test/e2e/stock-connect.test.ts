/**
 * What Connect's own unary path (2.1.2, with protobuf-es 2.13.0) answers otherwise than ours: the list at the top of
 * src/rpc/unary.ts. A test that fails here is a reason less for ours.
 */
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { callGrpc, envelope } from "../support/grpc.js";
import { createHttpClient, type HttpClient } from "../support/http.js";
import { startService, type RunningService } from "../support/service.js";

const path = "/auth.v1.AuthService/Login";
const secret = "canary-5up3r";

let service: RunningService;
let client: HttpClient;
beforeAll(async () => {
  service = await startService({}, undefined, { fastUnary: false });
  client = createHttpClient(service.url);
});
afterAll(async () => {
  client.close();
  await service.close();
});

async function callJson(body: string, more = {}) {
  const headers = { "content-type": "application/json", ...more };
  return JSON.parse((await client.call(path, { headers, body })).body) as Record<string, string>;
}

test("a parse error quotes the request", async () => {
  expect((await callJson(secret))["message"]).toContain(secret.slice(0, 6));
});

test("so does the refusal of a compression or a deadline", async () => {
  expect((await callJson("{}", { "content-encoding": secret }))["message"]).toContain(secret);
  expect((await callJson("{}", { "connect-timeout-ms": secret }))["message"]).toContain(secret);
});

test("a malformed protobuf message is an internal error", async () => {
  const headers = { "content-type": "application/proto" };
  const reply = await client.call(path, { headers, body: Buffer.from([8, 1, 255]) });
  expect(JSON.parse(reply.body)).toMatchObject({ code: "internal" });
});

test("a compressed message past the limit is an internal error", async () => {
  const headers = { "content-type": "application/json", "content-encoding": "gzip" };
  const body = gzipSync(`{"username":"${"a".repeat(70_000)}"}`);
  expect(JSON.parse((await client.call(path, { headers, body })).body)).toMatchObject({
    code: "internal",
  });
});

test("gRPC with a bad escape before an emoji has no grpc-status", async () => {
  const headers = { "content-type": "application/grpc+json" };
  const reply = await callGrpc(service.url, path, envelope('{"username":"\\😀"}'), headers);
  expect(reply.headers[":status"]).toBe(500);
  expect({ ...reply.headers, ...reply.trailers }).not.toHaveProperty("grpc-status");
});
