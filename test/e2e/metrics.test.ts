/** The metrics page: valid, true, and with no label that a client can choose. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { callGrpc, envelope } from "../support/grpc.js";
import { basic, createHttpClient, type HttpClient } from "../support/http.js";
import { createAuthClient } from "../support/rpc.js";
import { eventually } from "../support/server-process.js";
import { startService, type RunningService } from "../support/service.js";

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

async function page(): Promise<string> {
  const answer = await fetch(`${service.managementUrl}/metrics`);
  expect(answer.status).toBe(200);
  expect(answer.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
  return answer.text();
}

/** The samples by name and labels. */
const samplesOf = (text: string) =>
  new Map(
    text
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"))
      .map((line) => {
        const [, series = "", value] = /^(.*) (\S+)$/.exec(line) ?? [];
        return [series, Number(value)] as const;
      }),
  );

const login = (username: string, password: string) =>
  client.call("/api/auth/token", { headers: { authorization: basic(username, password) } });

test("counts requests, attempts and calls to the store", async () => {
  await login("TestUser", "password");
  await login("TestUser", "wrong");
  await createAuthClient(createGrpcTransport({ baseUrl: service.url })).login({
    username: "TestUser",
    password: "password",
  });
  await client.call("/nowhere");
  await callGrpc(service.url, "/auth.v1.AuthService/Login", envelope("\u00ff"));
  const samples = samplesOf(await page());
  expect(Object.fromEntries(samples)).toMatchObject({
    'latchkey_requests_total{route="/api/auth/token",outcome="ok"}': 1,
    'latchkey_requests_total{route="/api/auth/token",outcome="invalid_credentials"}': 1,
    'latchkey_requests_total{route="/auth.v1.AuthService/Login",outcome="ok"}': 1,
    'latchkey_requests_total{route="unknown",outcome="http_404"}': 1,
    'latchkey_requests_total{route="/auth.v1.AuthService/Login",outcome="invalid_argument"}': 1,
    'latchkey_login_attempts_total{surface="rest_token",reason="wrong_password"}': 1,
    'latchkey_login_attempts_total{surface="rpc_login",reason="accepted"}': 1,
    latchkey_hash_wait_seconds_count: 3,
    'latchkey_store_duration_seconds_count{operation="users.findByUsername"}': 3,
    'latchkey_keys{state="signing"}': 1,
    'latchkey_log_lines_dropped_total{stream="log"}': 0,
    latchkey_ready: 1,
    latchkey_hashes_running: 0,
  });
  expect(samples.get("process_resident_memory_bytes")).toBeGreaterThan(0);
});

test("everything that counts or times is there at 0 before anything has happened", async () => {
  // Nobody listens there.
  const fresh = await startService({ UPSTREAM_URL: "http://127.0.0.1:9", UPSTREAM_LEAD: "25" }, []);
  const text = await (await fetch(`${fresh.managementUrl}/metrics`)).text();
  await fresh.close();
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  const samples = samplesOf(text);
  expect(samples.get(`latchkey_build_info{version="${version}"}`)).toBe(1);
  const families = [...text.matchAll(/^# TYPE (latchkey_\S+) (counter|histogram)$/gm)];
  expect(families).toHaveLength(12);
  for (const [, name = "", type] of families) {
    const sample = type === "counter" ? name : `${name}_count`;
    const series = [...samples.keys()].filter((key) => key.replace(/\{.*/, "") === sample);
    expect([name, series.length > 0]).toEqual([name, true]);
  }
  expect(samples.get("latchkey_takeover_lead")).toBe(25);
  expect(samples.get("latchkey_takeover_breaker_open")).toBe(0);
  expect(samples.get("latchkey_takeover_learnt_total")).toBe(0);
  for (const series of [
    'requests_total{route="/api/auth/token",outcome="internal"}',
    'requests_total{route="/auth.v1.AuthService/Login",outcome="store_unavailable"}',
    'requests_total{route="unknown",outcome="aborted"}',
    'login_attempts_total{surface="rest_login",reason="throttled_by_network"}',
    'store_errors_total{operation="users.findByUsername"}',
    'refusals_total{reason="flood"}',
    'key_events_total{type="key_unreadable"}',
    'tls_reloads_total{outcome="failed"}',
    'log_lines_dropped_total{stream="audit"}',
    'request_duration_seconds_count{route="/api/auth/token"}',
    'request_duration_seconds_bucket{le="+Inf",route="/auth.v1.AuthService/Login"}',
    'store_duration_seconds_count{operation="users.replacePasswordHash"}',
    'takeover_questions_total{outcome="unavailable"}',
  ]) {
    expect([series, samples.get(`latchkey_${series}`)]).toEqual([series, 0]);
  }
});

test("what is counted brings no new series along", async () => {
  // A gauge that comes with the next key.
  const isComplete = (text: string) => /^latchkey_key_next_step_seconds /m.test(text);
  const before = samplesOf(await eventually(page, isComplete));
  await login("TestUser", "password");
  await login("nobody", "wrong");
  await client.call("/api/v1/authentication/login", { body: "{}" });
  await createAuthClient(createGrpcTransport({ baseUrl: service.url }))
    .login({ username: "TestUser", password: "wrong" })
    .catch(() => undefined);
  const added = [...samplesOf(await page()).keys()].filter(
    (series) => /^latchkey/.test(series) && !before.has(series),
  );
  expect(added).toEqual([]);
});

test("is not on the public port", async () => {
  expect((await client.call("/metrics", { method: "GET" })).status).toBe(404);
});

test("no series comes of what a client sends", async () => {
  const before = samplesOf(await page());
  for (let i = 0; i < 20; i++) {
    const name = `invented-${i}`;
    await login(name, name);
    await client.call(`/${name}?${name}`, { headers: { "x-request-id": name, host: name } });
    await client.call("/api/auth/token", { method: "DELETE", headers: { "user-agent": name } });
    await client.call(`/auth.v1.AuthService/${name}`, { headers: { "content-type": name } });
  }
  const text = await page();
  expect(text).not.toContain("invented");
  const isNew = (series: string) => !before.has(series) && !/_bucket|_(sum|count)\b/.test(series);
  const added = [...samplesOf(text).keys()].filter(
    (series) => /^latchkey/.test(series) && isNew(series),
  );
  expect(added.length).toBeLessThan(8);
});

/** The text format 0.0.4, as far as a page can go wrong. */
test("every line is valid, every series is there once and has its type and help", async () => {
  const text = await page();
  expect(text.endsWith("\n")).toBe(true);
  const label = '[a-zA-Z_]\\w*="(?:[^"\\\\\\n]|\\\\[\\\\"n])*"';
  const sample = new RegExp(
    `^([a-zA-Z_:][\\w:]*)(\\{${label}(?:,${label})*\\})? ([Nn]a[Nn]|[+-]Inf|-?\\d+(\\.\\d+)?(e[+-]?\\d+)?)$`,
  );
  const types = new Map<string, string>();
  const seen = new Set<string>();
  for (const line of text.split("\n").filter(Boolean)) {
    const [, name, type] = /^# TYPE (\S+) (counter|gauge|histogram|summary)$/.exec(line) ?? [];
    if (name !== undefined && type !== undefined) {
      expect(types.has(name)).toBe(false);
      types.set(name, type);
    } else if (!/^# HELP \S+ .+$/.test(line)) {
      expect(line).toMatch(sample);
      const [, metric = "", labels = ""] = sample.exec(line) ?? [];
      const family = types.has(metric) ? metric : metric.replace(/_(bucket|sum|count)$/, "");
      expect([family, types.has(family)]).toEqual([family, true]);
      expect(seen.has(metric + labels)).toBe(false);
      seen.add(metric + labels);
    }
  }
});
