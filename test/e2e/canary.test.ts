/** Secrets put through every surface and every failure turn up in no log, metric, trace or answer. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { basic, createHttpClient, type Call } from "../support/http.js";
import { startCollector } from "../support/otlp-collector.js";
import { createAuthClient, transports } from "../support/rpc.js";
import { runCommand, startServerProcess, type ServerProcess } from "../support/server-process.js";

const password = "canary-Password-7f3a";
const wrongPassword = "canary-Wrong-91bc";
const hash = "$2b$04$DR3aoWP.AwUXsNf5c23tceithpasOR0Qjhb0gsfgHTYkVhBKUJlTe";
const brokenHash = "$2b$12$canaryBrokenHash55d1";
const sealingKey = "c0ffee".repeat(10) + "c0ff";
const uriPassword = "canary-Uri-2a6e";
const collectorKey = "canary-Collector-77";
/** Unsigned, and so refused; a good one is in `secrets` once it is issued. */
const forged = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYW5hcnkifQ.canaryForged";
const secrets = new Set([
  ...[password, wrongPassword, hash, brokenHash, "canaryBrokenHash", sealingKey, uriPassword],
  ...[collectorKey],
  ...[forged, basic("ann", password), basic("ann", wrongPassword), "PRIVATE KEY"],
  ...[basic("ann", password).slice(6), basic("ann", wrongPassword).slice(6)],
]);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "latchkey-canary-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const settings = {
  LOG_LEVEL: "trace",
  KEY_ENCRYPTION_KEY: sealingKey,
  THROTTLE_FAILURES: "1000",
  THROTTLE_NETWORK_FAILURES: "100000",
};

/** Every call of every surface, the failing ones included. Returns all that was answered. */
async function callEverything(
  { url }: ServerProcess,
  usernames: readonly string[],
): Promise<string[]> {
  const client = createHttpClient(url);
  const answers: string[] = [];
  const rpc = "/auth.v1.AuthService/Login";
  const json = { "content-type": "application/json" };
  async function call(path: string, options: Call): Promise<string> {
    const { status, headers, body } = await client.call(path, options);
    answers.push(JSON.stringify({ status, headers, body }));
    return body;
  }

  for (const given of [password, wrongPassword]) {
    for (const username of usernames) {
      const body = await call("/api/auth/token", {
        headers: { authorization: basic(username, given), "x-request-id": given },
      });
      const { token } = (body === "" ? {} : JSON.parse(body)) as { token?: string };
      if (token !== undefined) {
        secrets.add(token);
        const renewed = await call("/api/auth/token", {
          headers: { authorization: `Bearer ${token}` },
        });
        secrets.add((JSON.parse(renewed) as { token: string }).token);
      }
      const pair = JSON.stringify({ username, password: given });
      const body2 = await call("/api/v1/authentication/login", { headers: json, body: pair });
      const { data } = JSON.parse(body2) as { data: string };
      if (data) secrets.add(data);
      for (const broken of [
        pair.slice(0, -1),
        `${pair}x`,
        `[${pair}]`,
        pair.replace(":", ": \\u"),
      ]) {
        await call("/api/v1/authentication/login", { headers: json, body: broken });
        await call(rpc, { headers: json, body: broken });
        for (const type of ["application/proto", "application/grpc", "application/grpc-web+json"]) {
          await call(rpc, { headers: { "content-type": type }, body: broken });
        }
      }
    }
    for (const path of ["/api/auth/token", `/${given}?password=${given}`, rpc]) {
      for (const method of ["GET", "POST", "DELETE"]) {
        const headers = {
          authorization: `Digest ${given}`,
          cookie: given,
          "user-agent": given,
          ...{ traceparent: given, tracestate: given, baggage: `password=${given}` },
        };
        await call(path, { method, headers });
      }
    }
    const attempts = Object.values(transports).flatMap((createTransport) => {
      const auth = createAuthClient(createTransport(url));
      return [
        auth.login({ username: "ann", password: given }),
        ...[basic("ann", given), `Bearer ${forged}`].map((authorization) =>
          auth.issueToken({}, { headers: { authorization } }),
        ),
      ];
    });
    for (const answer of await Promise.allSettled(attempts)) {
      if (answer.status === "fulfilled") secrets.add(answer.value.accessToken);
      else answers.push(String(answer.reason), JSON.stringify(answer.reason));
    }
  }
  await call("/api/auth/token", { headers: { authorization: `Bearer ${forged}` } });
  await call("/api/auth/token", { headers: { authorization: "Basic ".concat(password) } });
  client.close();
  return answers;
}

/** Where an answer must hold a token, it may. */
const withoutIssued = (answer: string) =>
  answer.replace(/(\\"(?:token|data|accessToken)\\":\\")[\w.-]+/g, "$1");

async function expectNoSecret(
  env: Readonly<Record<string, string>>,
  usernames: readonly string[] = ["ann"],
): Promise<void> {
  const collector = await startCollector();
  const tracing = collector && {
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_EXPORTER_OTLP_HEADERS: `authorization=${collectorKey}`,
  };
  const server = await startServerProcess({ ...settings, ...env, ...tracing });
  let errors = "";
  server.child.stderr?.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const answers = await callEverything(server, usernames);
  const metrics = await (await fetch(`${server.managementUrl}/metrics`)).text();
  const ready = await (await fetch(`${server.managementUrl}/readyz`)).text();
  expect(await server.stop()).toBe(0);
  const log = server.lines.map((line) => JSON.stringify(line));
  expect(log.length).toBeGreaterThan(100);
  expect(metrics).toContain("latchkey_requests_total");
  await collector?.stop();
  const spans = collector?.spans() ?? [];
  if (collector) expect(spans.length).toBeGreaterThan(100);
  const where = { log: log.join("\n"), errors, metrics, ready, traces: JSON.stringify(spans) };
  const answered = answers.map(withoutIssued).join("\n");
  for (const secret of secrets) {
    for (const [name, text] of Object.entries({ ...where, answered })) {
      // A request id is echoed, and chosen by the caller: passwords are none of its business.
      const rest = text.replaceAll(/"(requestId|x-request-id)":"[^"]*"/g, "");
      if (rest.includes(secret)) throw new Error(`${secret} is in the ${name}`);
    }
  }
}

describe("no secret leaks", () => {
  test("where everything works", async () => {
    const store = { DATA_DIR: folder };
    const added = await runCommand(["users", "add", "ann", "--password-stdin"], store, password);
    expect(added).toMatchObject({ exitCode: 0 });
    const users = [
      { _id: 8, username: "hashed", passwordHash: hash },
      { _id: 9, username: "broken", passwordHash: brokenHash },
    ];
    const file = join(folder, "users.ndjson");
    writeFileSync(file, users.map((user) => JSON.stringify(user)).join("\n"));
    const imported = await runCommand(["users", "import", file], store);
    for (const secret of secrets) expect(imported.stdout + imported.stderr).not.toContain(secret);
    await expectNoSecret(store, ["ann", "broken", "hashed"]);
  });

  test("where the store is not there", async () => {
    const uri = `mongodb://canary:${uriPassword}@127.0.0.1:1/app?authSource=admin`;
    await expectNoSecret({ MONGODB_URI: uri });
  });

  test.each([
    ["the connection string", { MONGODB_URI: `mongodb://canary:${uriPassword}@localhost` }],
    ["the encryption key", { KEY_ENCRYPTION_KEY: `${sealingKey}00` }],
    ["an option of it", { MONGODB_URI: `mongodb://canary:${uriPassword}@localhost/a?x=1` }],
  ])("where %s is wrong", async (_, fault) => {
    const { exitCode, stdout, stderr } = await runCommand(["serve"], fault);
    expect(exitCode).not.toBe(0);
    for (const secret of secrets) expect(stdout + stderr).not.toContain(secret);
  });
});
