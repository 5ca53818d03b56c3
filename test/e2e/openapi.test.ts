/** The OpenAPI document: its form, and whether the server does what it says. */
import { readFileSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { createConfig, lintFromString } from "@redocly/openapi-core";
import { parse } from "yaml";
import { rows, rowsOf, rowsOfToken, type ContractRow } from "../../src/cli/contract/rows.js";
import { tokenOf } from "../../src/contract/aspects.js";
import { basic, createHttpClient, type Call, type HttpClient } from "../support/http.js";
import { freePort } from "../support/mongo.js";
import { createAnswerCheck, type OpenApi } from "../support/openapi.js";
import { startService, type RunningService } from "../support/service.js";
import { rootDir } from "../support/toolchain.js";
import { openStore } from "../../src/store/open-store.js";
import { parseConfig } from "../../src/config/config.js";

const tokenPath = "/api/auth/token";
const loginPath = "/api/v1/authentication/login";
const rpcLoginPath = "/auth.v1.AuthService/Login";
const issuePath = "/auth.v1.AuthService/IssueToken";
const healthPath = "/grpc.health.v1.Health/Check";
const right = { username: "TestUser", password: "password" };

const cleanups: (() => unknown)[] = [];
afterAll(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

async function start(
  ...[env, users, deps]: Parameters<typeof startService>
): Promise<RunningService & { client: HttpClient }> {
  const service = await startService({ API_PAGE: "on", ...env }, users, deps);
  const client = createHttpClient(service.url);
  cleanups.push(
    () => service.close(),
    () => client.close(),
  );
  return { ...service, client };
}

let client: HttpClient;
let document: OpenApi;
let faultsOf: ReturnType<typeof createAnswerCheck>;
/** The statuses that were served, by path. */
const seen = new Map<string, Set<number>>();

beforeAll(async () => {
  ({ client } = await start({ TOKEN_ISSUER: "https://auth.example/tenant", REVOCATIONS: "on" }));
  const { body } = await client.call("/openapi.json", { method: "GET" });
  document = JSON.parse(body) as OpenApi;
  faultsOf = createAnswerCheck(document);
});

const json = (value: unknown, headers = {}): Call => ({
  headers: { "content-type": "application/json", ...headers },
  body: typeof value === "string" ? value : JSON.stringify(value),
});
const authorized = (authorization: string): Call => ({ headers: { authorization } });

/** Calls, holds the answer against the document, and returns its status. */
async function held(path: string, call: Call, at: HttpClient = client): Promise<number> {
  const reply = await at.call(path, call);
  expect(faultsOf(path, reply)).toEqual([]);
  seen.set(path, (seen.get(path) ?? new Set()).add(reply.status));
  return reply.status;
}

describe("the document", () => {
  test.each(["/openapi.json", "/openapi.yaml"])("%s passes the linter", async (path) => {
    const { body } = await client.call(path, { method: "GET" });
    const config = await createConfig({ extends: ["recommended-strict"] });
    const problems = await lintFromString({ source: body, absoluteRef: path, config });
    expect(problems.map(({ ruleId, message }) => `${ruleId}: ${message}`)).toEqual([]);
  });

  test("is the same in JSON and YAML, and anybody's page may read it", async () => {
    const { body, headers } = await client.call("/openapi.yaml", { method: "GET" });
    expect(headers["content-type"]).toBe("application/yaml");
    expect(headers["access-control-allow-origin"]).toBe("*");
    expect(parse(body)).toEqual(document);
    // As readers of YAML 1.1 take it, who have dates.
    expect(parse(body, { schema: "yaml-1.1" })).toEqual(document);
    expect(document.openapi).toMatch(/^3\.1\./);
  });

  test("the package's has every path that a server may have", () => {
    const packed = JSON.parse(readFileSync(join(rootDir, "dist/openapi.json"), "utf8")) as OpenApi;
    expect(parse(readFileSync(join(rootDir, "dist/openapi.yaml"), "utf8"))).toEqual(packed);
    const paths = Object.keys(document.paths).filter((path) => !path.includes("tenant"));
    expect(Object.keys(packed.paths).sort()).toEqual(paths.sort());
  });

  test("is not served where the page is off", async () => {
    const off = await start({ API_PAGE: "off" });
    const paths = ["/openapi.json", "/openapi.yaml"];
    const replies = await Promise.all(
      paths.map((path) => off.client.call(path, { method: "GET" })),
    );
    expect(replies.map(({ status }) => status)).toEqual([404, 404]);
  });

  test("its examples are the golden answers", async () => {
    const files = (await readdir(join(rootDir, "test/golden"))).filter((name) =>
      /^(token|login)-\d{3}/.test(name),
    );
    expect(files.length).toBeGreaterThan(10);
    for (const file of files) {
      const [, surface = "", status = ""] = /^(token|login)-(\d{3})/.exec(file) ?? [];
      const text = readFileSync(join(rootDir, "test/golden", file), "utf8");
      const golden = text.slice(text.indexOf("\n\n") + 2);
      const path = surface === "token" ? tokenPath : loginPath;
      const { examples = {} } =
        document.paths[path]?.["post"]?.responses[status]?.content?.["application/json"] ?? {};
      const bodies = Object.values(examples).map(({ value }) => JSON.stringify(value));
      if (golden !== "") expect(bodies.map(withoutValues)).toContain(golden);
      else expect(bodies).toEqual([]);
    }
  });
});

/** As the golden files have them. */
const withoutValues = (body: string) =>
  body
    .replace(/eyJ[\w-]+\.[\w-]+\.[\w-]+/, "<jwt>")
    .replace(/"timestamp":"[^"]+"/, '"timestamp":"<timestamp>"')
    .replace(/"token_exp":"[^"]+"/, '"token_exp":"<token_exp>"');

describe("the server answers as the document says", () => {
  const heldRow = async (row: ContractRow) => {
    expect(String(await held(row.path, row))).toBe(row.expected["status"]);
  };

  test.each([...rows, ...rowsOf(right)].map((row) => [row.name, row] as const))("%s", (_, row) =>
    heldRow(row),
  );

  test("the rows that need a token", async () => {
    const reply = await client.call(tokenPath, authorized(basic("TestUser", "password")));
    for (const row of rowsOfToken(tokenOf(reply) ?? "")) await heldRow(row);
  });

  test("the rpcs", async () => {
    expect(await held(rpcLoginPath, json(right))).toBe(200);
    expect(await held(rpcLoginPath, json({ ...right, password: "wrong" }))).toBe(401);
    expect(await held(rpcLoginPath, json({}))).toBe(400);
    expect(await held(rpcLoginPath, json("{"))).toBe(400);
    expect(await held(rpcLoginPath, json({ ...right, username: "a".repeat(257) }))).toBe(400);
    const large = json({ ...right, extra: "a".repeat(70_000) });
    expect(await held(rpcLoginPath, large)).toBe(429);
    const headers = { authorization: basic("TestUser", "password") };
    expect(await held(issuePath, json({}, headers))).toBe(200);
    expect(await held(issuePath, json({}))).toBe(401);
    expect(await held(issuePath, json("["))).toBe(400);
    expect(await held(issuePath, json({ a: "a".repeat(70_000) }))).toBe(429);
    for (const path of [rpcLoginPath, issuePath, healthPath]) {
      expect(await held(path, { method: "PUT" })).toBe(405);
      expect(await held(path, { headers: { "content-type": "text/plain" }, body: "a" })).toBe(415);
    }
    expect(await held(healthPath, json({}))).toBe(200);
    expect(await held(healthPath, json({ service: "other" }))).toBe(404);
    expect(await held(healthPath, json("{"))).toBe(400);
    expect(await held(healthPath, json({ a: "a".repeat(70_000) }))).toBe(429);
  });

  test("the published documents", async () => {
    const paths = Object.keys(document.paths).filter((path) => path.includes("/.well-known/"));
    expect(paths).toHaveLength(7);
    for (const path of paths) {
      expect(await held(path, { method: "GET" })).toBe(200);
      const { etag = "" } = (await client.call(path, { method: "HEAD" })).headers;
      const conditional: Call = { method: "GET", headers: { "if-none-match": etag } };
      expect(await held(path, conditional)).toBe(304);
      expect(await held(path, { method: "POST" })).toBe(405);
    }
  });

  test("headers and bodies past the limits", async () => {
    for (const path of [tokenPath, loginPath, rpcLoginPath, issuePath, healthPath]) {
      const call: Call = { headers: { "x-large": "a".repeat(16_400) } };
      // The connection does not outlive it.
      const other = createHttpClient((await running).url);
      await held(path, call, other);
      other.close();
    }
    const encoded: Call = { headers: { "content-encoding": "br" }, body: "{}" };
    expect(await held(loginPath, encoded)).toBe(415);
  });
  let running: Promise<RunningService>;
  beforeAll(() => {
    running = start();
  });

  const surfaces: readonly [path: string, call: (password: string) => Call][] = [
    [tokenPath, (password) => authorized(basic("TestUser", password))],
    [loginPath, (password) => json({ ...right, password })],
    [rpcLoginPath, (password) => json({ ...right, password })],
    [issuePath, (password) => json({}, { authorization: basic("TestUser", password) })],
  ];

  test("while it is throttled", async () => {
    const { client: throttled } = await start({ THROTTLE_FAILURES: "1" });
    for (const [path, call] of surfaces) {
      await throttled.call(path, call("wrong"));
      expect(await held(path, call("wrong"), throttled)).toBe(429);
    }
  });

  test("while too many hashes wait", async () => {
    const { url } = await start({ HASH_CONCURRENCY: "1", HASH_QUEUE_MAX: "1" });
    for (const [path, call] of surfaces) {
      const clients = Array.from({ length: 12 }, () => createHttpClient(url));
      const statuses = await Promise.all(clients.map((each) => held(path, call("wrong"), each)));
      clients.forEach((each) => each.close());
      expect(statuses).toContain(503);
    }
  });

  test("while the store is down", async () => {
    const { url } = await start({ MONGODB_URI: `mongodb://127.0.0.1:${await freePort()}/app` }, []);
    const statuses = await Promise.all(
      surfaces.map(async ([path, call]) => {
        const own = createHttpClient(url);
        const status = await held(path, call("password"), own);
        own.close();
        return status;
      }),
    );
    expect(statuses).toEqual([500, 503, 503, 503]);
  });

  test("while something is broken", async () => {
    const folder = await mkdtemp(join(tmpdir(), "latchkey-"));
    const real = await openStore(parseConfig({ DATA_DIR: folder }));
    cleanups.push(
      () => rm(folder, { recursive: true }),
      () => real.close(),
    );
    const findByUsername = () => Promise.reject(new TypeError("broken"));
    const store = { ...real, users: Object.assign(real.users, { findByUsername }) };
    const { client: faulty } = await start({}, [], { store });
    for (const [path, call] of surfaces) {
      expect(await held(path, call("password"), faulty)).toBe(500);
    }
  });

  test("no answer of the two paths and the rpcs is documented and not seen here", () => {
    const unseen = Object.entries(document.paths)
      .filter(([path]) => !path.includes("/.well-known/"))
      .flatMap(([path, operations]) =>
        Object.keys(operations["post"]?.responses ?? {})
          .filter((status) => !seen.get(path)?.has(Number(status)))
          .map((status) => `${path} ${status}`),
      );
    // Those of slow requests are test/e2e/listener-refusals.test.ts's.
    expect(unseen.filter((each) => !each.endsWith(" 408"))).toEqual([]);
  });
});
