/** What a collector gets to see of a real process, and what becomes of the process without one. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { callGrpc, envelope } from "../support/grpc.js";
import { basic, createHttpClient, type Reply } from "../support/http.js";
import { startCollector, type Collector, type Span } from "../support/otlp-collector.js";
import { createAuthClient, transports } from "../support/rpc.js";
import {
  eventually,
  runCommand,
  startServerProcess,
  type ServerProcess,
} from "../support/server-process.js";

const password = "correct horse battery";
const authorization = basic("ann", password);
let folder: string;
let collector: Collector | undefined;
let server: ServerProcess | undefined;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "latchkey-"));
  const add = ["users", "add", "ann", "--password-stdin"];
  expect(await runCommand(add, { DATA_DIR: folder }, password)).toMatchObject({ exitCode: 0 });
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(async () => {
  await server?.stop("SIGKILL");
  await collector?.stop();
  collector = server = undefined;
});

const start = async (env: Record<string, string> = {}) =>
  (server = await startServerProcess({ DATA_DIR: folder, ...env }));

/** A server that sends its traces to a collector of its own. */
async function startTraced(env: Record<string, string> = {}) {
  collector = await startCollector();
  if (collector === undefined) return undefined;
  const tracing = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_BSP_SCHEDULE_DELAY: "100" };
  return { ...(await start({ ...tracing, ...env })), collector };
}

const hex = (bytes: number) => randomBytes(bytes).toString("hex");
function newParent(flags = "01") {
  const [traceId, spanId] = [hex(16), hex(8)];
  return { traceId, spanId, traceparent: `00-${traceId}-${spanId}-${flags}` };
}

async function call(url: string, path: string, headers: Record<string, string>): Promise<Reply> {
  const client = createHttpClient(url);
  const reply = await client.call(path, { headers });
  client.close();
  return reply;
}
const login = (url: string, headers: Record<string, string> = {}) =>
  call(url, "/api/auth/token", { authorization, ...headers });

/** The trace, once the span of its request is there, which is the last to end. */
async function traceOf(from: Collector, traceId: string) {
  const found = await eventually(
    () => Promise.resolve(from.spans().filter((span) => span.traceId === traceId)),
    (trace) => trace.some(({ kind }) => kind === "SPAN_KIND_SERVER"),
  );
  const request = found.find(({ kind }) => kind === "SPAN_KIND_SERVER") as Span;
  return { request, children: found.filter((span) => span !== request) };
}

const logged = ({ lines }: ServerProcess, event: string) =>
  lines.filter((line) => line["event"] === event);

const untilLogged = (running: ServerProcess, event: string) =>
  eventually(
    () => Promise.resolve(logged(running, event)),
    ({ length }) => length > 0,
  );

/** The clock of the SDK has whole milliseconds, what it measures has not. */
const slackMs = 2;

function expectWork({ request, children }: Awaited<ReturnType<typeof traceOf>>): void {
  const names = new Set(children.map(({ name }) => name));
  // Not every login has something to write.
  names.delete("throttle.write");
  expect([...names].sort()).toEqual([
    ...["hash.compute", "hash.wait", "throttle.read", "users.findByUsername"],
  ]);
  for (const child of children) {
    expect(child).toMatchObject({ kind: "SPAN_KIND_INTERNAL", parentSpanId: request.spanId });
    expect(child.startMs).toBeGreaterThanOrEqual(request.startMs - slackMs);
    expect(child.endMs).toBeLessThanOrEqual(request.endMs + slackMs);
    expect(child.endMs).toBeGreaterThanOrEqual(child.startMs);
    const isStore = !child.name.startsWith("hash.");
    const isHash = child.name === "hash.compute";
    expect(child.attributes).toEqual({
      ...(isStore && { "db.system.name": "lmdb" }),
      ...(isHash && { "latchkey.hash.family": "argon2id" }),
    });
  }
}

describe("a trace", () => {
  test("of a REST login goes on with the caller's and has the store and the hash in it", async () => {
    const running = await startTraced({
      OTEL_SERVICE_NAME: "logins",
      OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test",
    });
    if (running === undefined) return;
    // Else the first request may have to wait for the keys, and its trace says so.
    await running.ready();
    const { traceId, spanId, traceparent } = newParent();
    const { status } = await login(running.url, { traceparent, tracestate: "vendor=a:b" });
    expect(status).toBe(200);
    const trace = await traceOf(running.collector, traceId);
    const { request } = trace;
    expect(request).toMatchObject({
      name: "POST /api/auth/token",
      parentSpanId: spanId,
      traceState: "vendor=a:b",
      status: { code: "STATUS_CODE_UNSET" },
    });
    expect(request.attributes).toEqual({
      "http.request.method": "POST",
      "http.response.status_code": 200,
      "http.route": "/api/auth/token",
      "latchkey.outcome": "ok",
      "network.protocol.version": "1.1",
      "url.path": "/api/auth/token",
      "url.scheme": "http",
    });
    expect(request.resource).toMatchObject({
      "service.name": "logins",
      "deployment.environment.name": "test",
      "service.instance.id": expect.stringMatching(/^[\da-f-]{36}$/),
    });
    expectWork(trace);
    const ids = { trace_id: traceId, span_id: request.spanId };
    expect(logged(running, "request")).toEqual([expect.objectContaining(ids)]);
    expect(logged(running, "attempt")).toEqual([expect.objectContaining(ids)]);
  });

  test("of IssueToken over every protocol", async () => {
    const running = await startTraced();
    if (running === undefined) return;
    await running.ready();
    for (const [name, createTransport] of Object.entries(transports)) {
      const auth = createAuthClient(createTransport(running.url));
      const [right, wrong] = [newParent(), newParent()];
      const headers = { authorization, traceparent: right.traceparent };
      await auth.issueToken({}, { headers });
      const refused = auth.issueToken({}, { headers: { traceparent: wrong.traceparent } });
      await expect(refused).rejects.toThrow("unauthenticated");
      const isGrpc = name.startsWith("gRPC");
      const attributes = {
        "rpc.system.name": isGrpc ? "grpc" : "connectrpc",
        "rpc.method": "auth.v1.AuthService/IssueToken",
        "network.protocol.version": /h2c$/.test(name) ? "2" : "1.1",
      };
      const trace = await traceOf(running.collector, right.traceId);
      expectWork(trace);
      expect(trace.request).toMatchObject({
        name: "auth.v1.AuthService/IssueToken",
        parentSpanId: right.spanId,
      });
      expect(trace.request.attributes).toEqual({
        ...attributes,
        "latchkey.outcome": "ok",
        "rpc.status_code": isGrpc ? "OK" : "ok",
      });
      const { request, children } = await traceOf(running.collector, wrong.traceId);
      expect(children).toEqual([]);
      expect(request.status.code).toBe("STATUS_CODE_UNSET");
      expect(request.attributes).toEqual({
        ...attributes,
        "latchkey.outcome": "invalid_credentials",
        "rpc.status_code": isGrpc ? "UNAUTHENTICATED" : "unauthenticated",
      });
    }
  });

  test("is its request's alone, whatever else is on the connection", async () => {
    const running = await startTraced();
    if (running === undefined) return;
    const auth = createAuthClient(createGrpcTransport({ baseUrl: running.url }));
    const logins = Array.from({ length: 8 }, () => newParent());
    const issued = await Promise.all(
      logins.map(({ traceparent }) =>
        auth.issueToken({}, { headers: { authorization, traceparent } }),
      ),
    );
    for (const { traceId } of logins) {
      const { children } = await traceOf(running.collector, traceId);
      const names = children
        .map(({ name }) => name)
        .filter((name) => !/^(throttle|keys\.load)/.test(name));
      expect(names.sort()).toEqual(["hash.compute", "hash.wait", "users.findByUsername"]);
    }
    const client = createHttpClient(running.url);
    for (const { accessToken } of issued) {
      const { traceId, traceparent } = newParent();
      const headers = { authorization: `Bearer ${accessToken}`, traceparent };
      expect((await client.call("/api/auth/token", { headers })).status).toBe(200);
      const { children } = await traceOf(running.collector, traceId);
      expect(children.map(({ name }) => name)).toEqual(["users.findBySubject"]);
    }
    client.close();
  });

  test("of a store that is down has its error, and the caller's fault is none", async () => {
    const running = await startTraced({ MONGODB_URI: "mongodb://127.0.0.1:1/app" });
    if (running === undefined) return;
    const [down, absent, unread] = [newParent(), newParent(), newParent()];
    await login(running.url, down);
    await call(running.url, "/nowhere?secret", { traceparent: absent.traceparent });
    await callGrpc(running.url, "/auth.v1.AuthService/Login", envelope("\u00ff"), {
      traceparent: unread.traceparent,
    });
    const { request, children } = await traceOf(running.collector, down.traceId);
    expect(request.status.code).toBe("STATUS_CODE_ERROR");
    expect(request.attributes).toMatchObject({
      "http.response.status_code": 500,
      "error.type": "store_unavailable",
    });
    expect(children.find(({ name }) => name === "users.findByUsername")).toMatchObject({
      kind: "SPAN_KIND_CLIENT",
      status: { code: "STATUS_CODE_ERROR" },
      attributes: { "db.system.name": "mongodb", "error.type": "store_unavailable" },
    });
    const other = (await traceOf(running.collector, absent.traceId)).request;
    expect(other).toMatchObject({ name: "POST", status: { code: "STATUS_CODE_UNSET" } });
    expect(Object.keys(other.attributes)).not.toContain("url.path");
    const { attributes } = (await traceOf(running.collector, unread.traceId)).request;
    expect(attributes).toMatchObject({
      "rpc.method": "auth.v1.AuthService/Login",
      "rpc.status_code": "INVALID_ARGUMENT",
    });
  });
});

describe("which requests are traced", () => {
  const off = { OTEL_TRACES_SAMPLER: "always_off" };
  const on = { OTEL_TRACES_SAMPLER: "always_on" };
  const deaf = { OTEL_PROPAGATORS: "none" };
  test.each<[string, Record<string, string>, string, "caller's" | "own" | undefined]>([
    ["where the caller samples", {}, "01", "caller's"],
    ["where the caller does not", {}, "00", undefined],
    ["whatever the caller does, with always_off", off, "01", undefined],
    ["whatever the caller does, with always_on", on, "00", "caller's"],
    ["in a trace of its own, where callers are not followed", deaf, "00", "own"],
  ])("%s", async (_, env, flags, expected) => {
    const running = await startTraced(env);
    if (running === undefined) return;
    const { traceId, spanId, traceparent } = newParent(flags);
    await login(running.url, { traceparent });
    expect(await running.stop()).toBe(0);
    await running.collector.stop();
    const spans = running.collector.spans();
    const traces = new Set(spans.map((span) => (span.traceId === traceId ? "caller's" : "own")));
    expect([...traces]).toEqual(expected === undefined ? [] : [expected]);
    const [line] = logged(running, "request");
    expect(line?.["trace_id"] === traceId).toBe(expected !== "own");
    expect(line?.["span_id"]).not.toBe(spanId);
  });

  test("each worker tells which one it is", async () => {
    const running = await startTraced({ WORKERS: "2" });
    if (running === undefined) return;
    const { url, collector } = running;
    await eventually(
      async () => {
        await login(url);
        return new Set(collector.spans().map(({ resource }) => resource["service.instance.id"]));
      },
      ({ size }) => size === 2,
    );
    expect(await running.stop()).toBe(0);
  });
});

describe("the collector", () => {
  test("gets what is left at the end, compressed and with its headers where so configured", async () => {
    const running = await startTraced({
      OTEL_BSP_SCHEDULE_DELAY: "600000",
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20canary-Collector-77",
      OTEL_EXPORTER_OTLP_COMPRESSION: "gzip",
    });
    if (running === undefined) return;
    const { traceId, traceparent } = newParent();
    await login(running.url, { traceparent });
    expect(running.collector.exports).toEqual([]);
    expect(await running.stop()).toBe(0);
    await traceOf(running.collector, traceId);
    expect(running.collector.exports[0]).toMatchObject({
      path: "/v1/traces",
      headers: { authorization: "Bearer canary-Collector-77", "content-encoding": "gzip" },
    });
    expect(JSON.stringify(running.lines)).not.toContain("canary");
  });

  test("may be down: nobody waits, it is told once, and so is that it is back", async () => {
    const running = await startTraced({ OTEL_EXPORTER_OTLP_TIMEOUT: "200" });
    if (running === undefined) return;
    running.collector.refuse(true);
    for (let batch = 1; batch <= 3; batch++) {
      expect((await login(running.url)).status).toBe(200);
      await eventually(
        () => Promise.resolve(running.collector.exports),
        ({ length }) => length >= batch,
      );
    }
    const failures = await untilLogged(running, "trace_export_failed");
    running.collector.refuse(false);
    await eventually(
      () => login(running.url),
      () => logged(running, "trace_export_recovered").length > 0,
    );
    expect(logged(running, "trace_export_failed")).toEqual(failures);
    expect(failures).toEqual([
      expect.objectContaining({ level: "warn", lost: expect.any(Number) }),
    ]);
    expect(await running.stop()).toBe(0);
  });

  test.each(["frozen", "gone"])("may be %s: nobody waits, not even the end", async (how) => {
    const running = await startTraced({
      OTEL_EXPORTER_OTLP_TIMEOUT: "60000",
      OTEL_BSP_EXPORT_TIMEOUT: "60000",
      OTEL_BSP_MAX_QUEUE_SIZE: "10",
      OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "10",
      SHUTDOWN_GRACE: "1s",
    });
    if (running === undefined) return;
    if (how === "frozen") running.collector.freeze();
    else await running.collector.stop();
    for (let i = 0; i < 10; i++) expect((await login(running.url)).status).toBe(200);
    const startMs = performance.now();
    expect(await running.stop()).toBe(0);
    // The grace, and a second in which main.ts waits for whoever reads the output.
    expect(performance.now() - startMs).toBeLessThan(15_000);
  });
});

describe("without traces", () => {
  let modules: string;
  beforeEach(() => {
    modules = mkdtempSync(join(folder, "modules-"));
  });

  /** The packages of OpenTelemetry that the process had loaded in the end. */
  async function loadedPackages(env: Record<string, string>): Promise<string[]> {
    const recorder = join(modules, "recorder.cjs");
    writeFileSync(
      recorder,
      `process.on("exit", () => require("node:fs").writeFileSync(
        ${JSON.stringify(modules)} + "/" + process.pid + ".json",
        JSON.stringify(Object.keys(require("node:module")._cache))));`,
    );
    const running = await start({ ...env, NODE_OPTIONS: `--require ${recorder}` });
    expect((await login(running.url)).status).toBe(200);
    await fetch(`${running.managementUrl}/metrics`);
    expect(await running.stop()).toBe(0);
    const files = readdirSync(modules)
      .filter((name) => name.endsWith(".json"))
      .flatMap((name) => JSON.parse(readFileSync(join(modules, name), "utf8")) as string[]);
    expect(files.some((file) => file.includes("/node_modules/pino/"))).toBe(true);
    const names = files.flatMap((file) => /@opentelemetry\/[\w-]+/.exec(file) ?? []);
    return [...new Set(names)].sort();
  }

  // The metrics library asks the API for the trace that a sample belongs to.
  const api = "@opentelemetry/api";
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1" };
  test.each<[string, Record<string, string>]>([
    ["nothing is configured", {}],
    ["the SDK is disabled", { ...endpoint, OTEL_SDK_DISABLED: "true" }],
    ["no exporter is wanted", { ...endpoint, OTEL_TRACES_EXPORTER: "none" }],
    ["only a name is given", { OTEL_SERVICE_NAME: "logins" }],
  ])("the SDK is not loaded: %s", async (_, env) => {
    expect(await loadedPackages(env)).toEqual([api]);
  });

  test("but it would have been seen", async () => {
    const names = await loadedPackages(endpoint);
    expect(names).toContain("@opentelemetry/sdk-trace-base");
    expect(names).toContain("@opentelemetry/exporter-trace-otlp-proto");
  });

  test("a variable that cannot be used is told by name, and logins go on", async () => {
    const running = await start({
      OTEL_EXPORTER_OTLP_ENDPOINT: "collector:4317/canary-Endpoint-21",
      OTEL_EXPORTER_OTLP_HEADERS: "canary-Headers-22",
      OTEL_TRACES_SAMPLER: "sometimes",
      WORKERS: "2",
    });
    const warnings = logged(running, "setup").map(({ msg }) => String(msg));
    for (const name of ["ENDPOINT", "HEADERS", "SAMPLER"]) {
      expect(warnings.filter((text) => text.includes(`${name} must be`))).toHaveLength(1);
    }
    expect((await login(running.url)).status).toBe(200);
    expect(await running.stop()).toBe(0);
    expect(JSON.stringify(running.lines)).not.toContain("canary");
  });

  test("latchkey config keeps the collector's credentials to itself", async () => {
    const env = {
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://user:canary-Endpoint-21@collector.example",
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=canary-Headers-22",
    };
    const { exitCode, stdout, stderr } = await runCommand(["config"], env);
    expect(exitCode).toBe(0);
    expect(stdout + stderr).not.toMatch(/canary|did you mean/);
  });

  test("the caller's trace is in the log", async () => {
    const running = await start();
    const { traceId, spanId, traceparent } = newParent();
    await login(running.url, { traceparent });
    await login(running.url, { traceparent: "00-0-0-0" });
    expect(await running.stop()).toBe(0);
    for (const event of ["request", "attempt"]) {
      const lines = logged(running, event);
      expect(lines).toHaveLength(2);
      expect(lines[0]).toMatchObject({ trace_id: traceId, span_id: spanId });
      expect(Object.keys(lines[1] ?? {})).not.toContain("trace_id");
    }
  });
});
