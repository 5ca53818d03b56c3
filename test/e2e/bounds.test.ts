/** What requests may hold together and draw, on every path: past it a clear answer at once. */
import { afterEach, describe, expect, test } from "@jest/globals";
import { create, toBinary } from "@bufbuild/protobuf";
import { transformSplitEnvelope } from "@connectrpc/connect/protocol";
import { connect as connectHttp2 } from "node:http2";
import { setTimeout as sleep } from "node:timers/promises";
import { ServerReflectionRequestSchema } from "../../gen/grpc/reflection/v1/reflection_pb.js";
import { createRpcHandler, authRoutes } from "../../src/rpc/handler.js";
import { Room, Share } from "../../src/server/body.js";
import { Exchange } from "../../src/server/exchange.js";
import { callGrpc, envelope } from "../support/grpc.js";
import { basic, createHttpClient } from "../support/http.js";
import { flag, frame, frameType, headerBlock, openHttp2, uint32 } from "../support/http2-frames.js";
import { openSocket, start, until } from "../support/listener.js";
import { startService, testUser, type RunningService } from "../support/service.js";

const watchPath = "/grpc.health.v1.Health/Watch";
const loginPath = "/auth.v1.AuthService/Login";
const reflectionPaths = ["v1", "v1alpha"].map(
  (version) => `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
);

let service: RunningService | undefined;
afterEach(async () => {
  await service?.close();
  service = undefined;
});
const portOf = (url: string) => Number(new URL(url).port);

/** A server that never tires of waiting for the rest of a request. */
async function startPatient(path: string): Promise<string> {
  const readiness = { isReady: () => true, changed: () => new Promise<void>(() => undefined) };
  const rpc = createRpcHandler({
    routes: authRoutes({} as Parameters<typeof authRoutes>[0], readiness, { reflection: true }),
    onFault: () => undefined,
  });
  const { port } = await start({
    limits: { requestTimeoutMs: 600_000 },
    handler: (req, res) => void rpc.handle(new Exchange(req, res, "the-id", "client"), path),
  });
  return `http://127.0.0.1:${port}`;
}

describe("an announced length past the limit is refused while the stream is open", () => {
  const types = ["grpc", "grpc+json", "grpc-web", "connect+proto"];
  const rows = [loginPath, watchPath, ...reflectionPaths].flatMap((path) =>
    types
      .filter((type) => type !== "connect+proto" || path !== loginPath)
      .flatMap((type) => [65_537, 2 ** 32 - 1].map((length) => [path, type, length] as const)),
  );

  test.each(rows)("%s, %s, %i bytes", async (path, type, length) => {
    const session = connectHttp2(await startPatient(path));
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": `application/${type}`,
    });
    const head = Buffer.alloc(5);
    head.writeUInt32BE(length, 1);
    stream.write(head);
    let text = "";
    stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
    // Where there is no message, the status is there already.
    stream.on("response", (headers) => (text += JSON.stringify(headers)));
    stream.on("trailers", (trailers) => (text += JSON.stringify(trailers)));
    await until(() => /resource_exhausted|"grpc-status":"8"|grpc-status: 8/.test(text));
    session.destroy();
  });
});

describe("a reflection stream", () => {
  const ask = (count: number) =>
    Buffer.concat(
      Array.from({ length: count }, () =>
        envelope(
          toBinary(
            ServerReflectionRequestSchema,
            create(ServerReflectionRequestSchema, {
              messageRequest: { case: "fileByFilename", value: "buf/validate/validate.proto" },
            }),
          ),
        ),
      ),
    );

  test.each(reflectionPaths)("%s draws in proportion to what it asks", async (path) => {
    service = await startService();
    const asked = ask(1_400);
    const reply = await callGrpc(service.url, path, asked);
    expect(reply.trailers).toMatchObject({ "grpc-status": "8" });
    expect(reply.body.length).toBeLessThan(262_144 + 16 * asked.length);
  });

  test.each(reflectionPaths)("%s: a file comes again when it is asked for again", async (path) => {
    service = await startService();
    const once = await callGrpc(service.url, path, ask(1));
    const twice = await callGrpc(service.url, path, ask(2));
    expect([once, twice].map(({ trailers }) => trailers["grpc-status"])).toEqual(["0", "0"]);
    expect(twice.body.length).toBeGreaterThan(1.5 * once.body.length);
    expect(twice.body.length).toBeLessThan(2 * once.body.length);
  });

  test("REFLECTION=off: there is none, and the rest is served", async () => {
    service = await startService({ REFLECTION: "off" });
    for (const path of reflectionPaths) {
      const reply = await callGrpc(service.url, path, ask(1));
      expect({ ...reply.headers, ...reply.trailers }).toMatchObject({ "grpc-status": "12" });
    }
    const check = await callGrpc(service.url, "/grpc.health.v1.Health/Check", envelope(""));
    expect(check.trailers).toMatchObject({ "grpc-status": "0" });
  });

  test("a client that does not read holds no more than the room", async () => {
    const room = new Room(300_000);
    const readiness = { isReady: () => true, changed: () => new Promise<void>(() => undefined) };
    const rpc = createRpcHandler({
      routes: authRoutes({} as Parameters<typeof authRoutes>[0], readiness, { reflection: true }),
      onFault: () => undefined,
    });
    const [path = ""] = reflectionPaths;
    const { port } = await start({
      handler: (req, res) =>
        void rpc
          .handle(new Exchange(req, res, "the-id", "client", room), path)
          .catch(() => undefined),
    });
    const noWindow = Buffer.from([0, 4, 0, 0, 0, 0]);
    const raw = openHttp2(port, { settings: noWindow });
    const ids = Array.from({ length: 20 }, (_, i) => 2 * i + 1);
    const block = headerBlock({ ":path": path, "content-type": "application/grpc" });
    for (const id of ids) {
      raw.socket.write(frame(frameType.headers, flag.endHeaders, id, block));
      raw.socket.write(frame(frameType.data, flag.endStream, id, ask(1)));
    }
    const framesOf = (wanted: number) => raw.frames().filter(({ type }) => type === wanted);
    await until(() => framesOf(frameType.headers).length >= ids.length);
    expect(isFree(room, 100_000)).toBe(false);
    // Now it reads: who found no room has been told so.
    raw.socket.write(frame(frameType.settings, 0, 0, Buffer.from([0, 4, 0, 16, 0, 0])));
    raw.socket.write(frame(frameType.windowUpdate, 0, 0, uint32(16_777_216)));
    const isLast = ({ flags }: { flags: number }) => (flags & flag.endStream) !== 0;
    await until(() => framesOf(frameType.headers).filter(isLast).length === ids.length);
    const served = framesOf(frameType.data).filter(({ payload }) => payload.length > 0);
    expect(new Set(served.map(({ streamId }) => streamId)).size).toBe(4);
    raw.socket.destroy();
    await until(() => isFree(room, 300_000));
  });
});

function isFree(room: Room, bytes: number): boolean {
  const share = new Share(room);
  try {
    share.take(bytes);
    return true;
  } catch {
    return false;
  } finally {
    share.release();
  }
}

test("bodies that together take more than their room are refused, logins are not", async () => {
  service = await startService({}, [testUser]);
  const { url } = service;
  const paths = ["/api/auth/token", "/api/v1/authentication/login", loginPath];
  const heads = paths.map(
    (path) =>
      `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n`,
  );
  const part = " ".repeat(59_999);
  const sockets = Array.from({ length: 620 }, (_, i) => {
    const raw = openSocket(portOf(url));
    raw.socket.write((heads[i % 3] ?? "") + part);
    return raw;
  });
  const refused = () => sockets.filter(({ received }) => received().includes(" 503 "));
  while (refused().length < 30) await sleep(20);
  const texts = refused().map(({ received }) => received().toString());
  for (const text of texts) expect(text).toMatch(/\r\nretry-after: 1\r\n/i);
  expect(texts.some((text) => text.includes('"error":"Service Unavailable"'))).toBe(true);
  expect(texts.some((text) => text.includes('"messages":["Service Unavailable"]'))).toBe(true);
  expect(texts.some((text) => text.includes('"code":"unavailable"'))).toBe(true);

  const client = createHttpClient(url);
  const headers = { authorization: basic("TestUser", "password") };
  expect((await client.call("/api/auth/token", { headers })).status).toBe(200);
  const body = JSON.stringify({ username: "TestUser", password: "password" });
  expect((await client.call("/api/v1/authentication/login", { body })).status).toBe(200);

  for (const { socket } of sockets) socket.destroy();
  const large = { headers, body: "x".repeat(60_000) };
  let status = 0;
  while (status !== 200) ({ status } = await client.call("/api/auth/token", large));
  client.close();
});

test("Connect's own reader of envelopes still sums all pieces at each piece", async () => {
  // Once this fails, `rpc/envelopes.ts` may read by Connect's.
  let asked = 0;
  class Piece extends Uint8Array {
    override get byteLength(): number {
      asked++;
      return super.byteLength;
    }
  }
  const body = envelope("x".repeat(995));
  async function* pieces() {
    for (const byte of body) yield await Promise.resolve(Piece.of(byte));
  }
  for await (const { data } of transformSplitEnvelope(65_536)(pieces())) {
    expect(data.length).toBe(995);
  }
  expect(asked).toBeGreaterThan(100 * body.length);
});
