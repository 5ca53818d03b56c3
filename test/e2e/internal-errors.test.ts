/** A fault of our own, thrown below each surface: callers learn nothing of it, the log tells all. */
import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { ConnectError, createClient } from "@connectrpc/connect";
import { parseConfig } from "../../src/config/config.js";
import { openStore } from "../../src/store/open-store.js";
import type { Store } from "../../src/store/store.js";
import { AuthService } from "../../gen/auth/v1/auth_pb.js";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { basic, createHttpClient } from "../support/http.js";
import { transports } from "../support/rpc.js";
import { keptLogs, startService, testUser, type RunningService } from "../support/service.js";

const marker = "no such thing in /srv/latchkey/hunter2";
const fault = () => Promise.reject(new TypeError(marker));

const lines: string[] = [];
const dataDir = mkdtempSync(join(tmpdir(), "latchkey-internal-"));
let store: Store;
let service: RunningService;
let token: string;
let isBroken = false;

/** The object, but for some of its members. */
function replacing<T extends object>(object: T, members: Partial<T>): T {
  return new Proxy(object, {
    get(target, name) {
      const value: unknown = Reflect.get(name in members ? members : target, name);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}

beforeAll(async () => {
  store = await openStore(parseConfig({ DATA_DIR: dataDir }));
  await store.users.add(testUser);
  const users = replacing(store.users, {
    findByUsername: (name: string) => (isBroken ? fault() : store.users.findByUsername(name)),
    findBySubject: (subject: string) => (isBroken ? fault() : store.users.findBySubject(subject)),
  });
  const broken = replacing(store, { users });
  service = await startService({}, [], { store: broken, logs: keptLogs(lines) });
  const client = createHttpClient(service.url);
  const headers = { authorization: basic("TestUser", "password") };
  const { body } = await client.call("/api/auth/token", { headers });
  client.close();
  ({ token } = JSON.parse(body) as { token: string });
  expect(token).toMatch(/^ey/);
  isBroken = true;
});
afterAll(async () => {
  await service.close();
  await store.close();
  rmSync(dataDir, { recursive: true });
});
beforeEach(() => void lines.splice(0));

/** Nothing but a fixed text goes out, and the operator finds the fault under the request's id. */
function expectNothingTold(shown: string, requestId: string | null | undefined): void {
  for (const word of ["no such thing", "/srv/", "hunter2", "TypeError", ".ts:"]) {
    expect(shown.toLowerCase()).not.toContain(word.toLowerCase());
  }
  const told = lines.filter((line) => line.includes(marker));
  expect(told).toHaveLength(1);
  expect(told[0]).toContain(String(requestId));
}

test.each([
  ["POST /api/auth/token, Basic", "/api/auth/token", () => basic("TestUser", "password"), ""],
  ["POST /api/auth/token, Bearer", "/api/auth/token", () => `Bearer ${token}`, ""],
  [
    "POST /api/v1/authentication/login",
    "/api/v1/authentication/login",
    () => undefined,
    JSON.stringify({ username: "TestUser", password: "password" }),
  ],
])("%s", async (_, path, authorizationOf, body) => {
  const client = createHttpClient(service.url);
  const authorization = authorizationOf();
  const headers = { "content-type": "application/json", ...(authorization && { authorization }) };
  const reply = await client.call(path, { headers, body });
  client.close();
  expect(reply.status).toBe(500);
  expect(reply.body).toContain("Internal Server Error");
  const { "x-request-id": requestId, ...rest } = reply.headers;
  expectNothingTold(JSON.stringify([rest, reply.body]), String(requestId));
});

test.each(Object.keys(transports))("rpc: %s", async (name) => {
  const transport = transports[name]?.(service.url);
  if (transport === undefined) throw new Error(name);
  const client = createClient(AuthService, transport);
  const calls = [
    () => client.login({ username: "TestUser", password: "password" }),
    () => client.issueToken({}, { headers: { authorization: basic("TestUser", "password") } }),
    () => client.issueToken({}, { headers: { authorization: `Bearer ${token}` } }),
  ];
  for (const call of calls) {
    lines.splice(0);
    const error = ConnectError.from(
      await call().then(
        () => undefined,
        (reason: unknown) => reason,
      ),
    );
    expect(error.rawMessage).toMatch(/^internal error; request id [-0-9a-f]{36}$/);
    expect(error.details).toEqual([]);
    const metadata = [...error.metadata].filter(
      ([key]) => key !== "date" && key !== "x-request-id",
    );
    expectNothingTold(
      JSON.stringify([error.message, metadata]),
      error.metadata.get("x-request-id"),
    );
  }
});
