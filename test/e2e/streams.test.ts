/** Streaming rpcs: how they end, and who is told of a fault, through a gRPC client of another make too. */
import { afterEach, expect, test } from "@jest/globals";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Client, credentials, Metadata, status, type StatusObject } from "@grpc/grpc-js";
import {
  Health,
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus as ServingStatus,
  HealthCheckResponseSchema,
} from "../../gen/grpc/health/v1/health_pb.js";
import { createRpcHandler } from "../../src/rpc/handler.js";
import { Exchange } from "../../src/server/exchange.js";
import { callGrpc, envelope } from "../support/grpc.js";
import { start, until } from "../support/listener.js";
import { keptLogs, startService, testUser } from "../support/service.js";

const path = "/grpc.health.v1.Health/Watch";
let cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
  cleanups = [];
});

async function startKept() {
  const lines: string[] = [];
  const service = await startService({}, [testUser], { logs: keptLogs(lines) });
  return { service, faults: () => lines.filter((line) => line.includes('"event":"fault"')) };
}

function watch(url: string) {
  const client = new Client(new URL(url).host, credentials.createInsecure());
  cleanups.push(() => client.close());
  const call = client.makeServerStreamRequest(
    path,
    () => Buffer.from(toBinary(HealthCheckRequestSchema, create(HealthCheckRequestSchema))),
    (bytes) => fromBinary(HealthCheckResponseSchema, bytes),
    {},
    new Metadata(),
  );
  const statuses: ServingStatus[] = [];
  call.on("data", (message: { status: ServingStatus }) => statuses.push(message.status));
  call.on("error", () => undefined);
  const ended = new Promise<StatusObject>((resolve) => call.on("status", resolve));
  return { statuses, ended, cancel: () => call.cancel() };
}

test("a watch whose deadline passes is answered DEADLINE_EXCEEDED", async () => {
  const { service, faults } = await startKept();
  cleanups.push(() => service.close());
  // A client that leaves it to the server.
  const reply = await callGrpc(service.url, path, envelope(""), { "grpc-timeout": "300m" });
  expect(reply.body).toEqual(envelope(Buffer.from([8, ServingStatus.SERVING])));
  expect(reply.trailers).toMatchObject({ "grpc-status": "4" });
  expect(faults()).toEqual([]);
});

test("a watch that its client leaves is no fault", async () => {
  const { service, faults } = await startKept();
  const { statuses, ended, cancel } = watch(service.url);
  await until(() => statuses.length === 1);
  cancel();
  expect(await ended).toMatchObject({ code: status.CANCELLED });
  await service.close();
  expect(faults()).toEqual([]);
});

test("a watch hears of the shutdown and does not hold it up", async () => {
  const { service, faults } = await startKept();
  const { statuses, ended } = watch(service.url);
  await until(() => statuses.length === 1);
  const startedAt = performance.now();
  await service.close();
  expect(performance.now() - startedAt).toBeLessThan(15_000);
  expect(await ended).toMatchObject({
    code: status.UNAVAILABLE,
    details: "the server shuts down",
  });
  expect(statuses).toEqual([ServingStatus.SERVING, ServingStatus.NOT_SERVING]);
  expect(faults()).toEqual([]);
});

test("a fault within a stream is told of, and says nothing to the client but its request id", async () => {
  const faults: unknown[] = [];
  const fault = new Error("a secret of the inside");
  const rpc = createRpcHandler({
    routes: (router) =>
      router.service(Health, {
        async *watch() {
          yield { status: ServingStatus.SERVING };
          await Promise.reject(fault);
        },
      }),
    onFault: (error, requestId) => faults.push([error, requestId]),
  });
  const { port } = await start({
    handler: (req, res) => void rpc.handle(new Exchange(req, res, "the-id", "client"), path),
  });
  const { statuses, ended } = watch(`http://127.0.0.1:${port}`);
  const { code, details } = await ended;
  expect(code).toBe(status.INTERNAL);
  expect(details).toContain("the-id");
  expect(details).not.toContain("secret");
  expect(statuses).toEqual([ServingStatus.SERVING]);
  expect(faults).toEqual([[fault, "the-id"]]);
});
