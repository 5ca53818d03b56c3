/** Requests that no generated client sends: what is wrong is said in our words, and nothing is quoted. */
import { once } from "node:events";
import { connect, constants } from "node:http2";
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

/** All that a gRPC client gets, where it is headers that end the stream ("Trailers-Only"). */
async function trailersOnly(path: string, body: Uint8Array, headers = {}) {
  const session = connect(service.url);
  const stream = session.request(
    {
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    },
    { endStream: false },
  );
  stream.end(body);
  const [answer, flags] = (await once(stream, "response")) as [Record<string, unknown>, number];
  stream.resume();
  await once(stream, "close");
  session.close();
  expect(flags & constants.NGHTTP2_FLAG_END_STREAM).toBe(constants.NGHTTP2_FLAG_END_STREAM);
  return answer;
}

describe("a gRPC answer without a message is headers alone", () => {
  const login = envelope(
    toBinary(LoginRequestSchema, create(LoginRequestSchema, { username: "a", password: "b" })),
  );
  const watchPath = "/grpc.health.v1.Health/Watch";
  test.each<[string, string, Uint8Array, Record<string, string>, string]>([
    ["an unknown method", "/auth.v1.AuthService/Nope", envelope(""), {}, "12"],
    ["an unknown service", "/a.B/C", envelope(""), {}, "12"],
    ["a wrong password", path, login, {}, "16"],
    ["an unparsable message", path, envelope("\x08\x01"), {}, "3"],
    ["a message too large", path, envelope(Buffer.alloc(65_537)), {}, "8"],
    ["a broken envelope", path, Buffer.from([9, 9, 9]), {}, "3"],
    ["a malformed deadline", path, envelope(""), { "grpc-timeout": "soon" }, "3"],
    ["an unknown compression", path, envelope(""), { "grpc-encoding": "zstd" }, "12"],
    [
      "a stream with an unknown compression",
      watchPath,
      envelope(""),
      { "grpc-encoding": "zstd" },
      "12",
    ],
    ["a stream whose message is too large", watchPath, envelope(Buffer.alloc(65_537)), {}, "8"],
    [
      "a stream of requests without one",
      "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
      Buffer.alloc(0),
      {},
      "0",
    ],
  ])("%s", async (_, path, body, headers, status) => {
    const answer = await trailersOnly(path, body, headers);
    expect(answer).toMatchObject({
      ":status": 200,
      "grpc-status": status,
      "x-request-id": expect.any(String),
    });
    if (headers["grpc-encoding"]) expect(answer["grpc-accept-encoding"]).toBe("gzip,br");
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
    if (code === "unimplemented") expect(reply.headers["accept-encoding"]).toBe("gzip,br");
  });

  test.each(["application/json", "application/connect+json"])(
    "%s with a quoted charset is read",
    async (type) => {
      const isStream = type.includes("connect");
      const message = JSON.stringify(
        isStream ? {} : { username: "TestUser", password: "password" },
      );
      for (const charset of ["utf-8", '"utf-8"', '"UTF-8"']) {
        const headers = {
          "content-type": `${type}; charset=${charset}`,
          ...(isStream && { "connect-timeout-ms": "200" }),
        };
        const reply = await client.call(isStream ? "/grpc.health.v1.Health/Watch" : path, {
          headers,
          body: isStream ? envelope(message) : message,
        });
        expect(reply.status).toBe(200);
      }
    },
  );

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
    const allowed = { [path]: "POST", "/grpc.health.v1.Health/Watch": "POST" };
    for (const [each, allow] of Object.entries(allowed)) {
      const { status, headers } = await client.call(each, { method: "GET" });
      expect([status, headers.allow]).toEqual([405, allow]);
    }
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
