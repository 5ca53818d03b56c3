import { afterEach, expect, test } from "@jest/globals";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ThrottleStore } from "../../src/auth/throttle/throttle.js";
import { parseConfig } from "../../src/config/config.js";
import { openStore } from "../../src/store/open-store.js";
import { storeUnavailable } from "../../src/store/unavailable.js";
import { basic, createHttpClient } from "../support/http.js";
import { startService, testUser, type RunningService } from "../support/service.js";

let service: RunningService | undefined;
afterEach(() => service?.close());

test("guesses count over all paths by the address that the proxy saw, and lock nobody out", async () => {
  service = await startService({ TRUST_PROXY: "1", THROTTLE_FAILURES: "3" }, [testUser]);
  const client = createHttpClient(service.url);
  const login = (password: string, address: string) =>
    client.call("/api/v1/authentication/login", {
      headers: { "x-forwarded-for": address },
      body: JSON.stringify({ username: "testUSER", password }),
    });
  const token = (username: string, password: string, address: string) =>
    client.call("/api/auth/token", {
      headers: { authorization: basic(username, password), "x-forwarded-for": address },
    });
  const rpc = (password: string, address: string) =>
    client.call("/auth.v1.AuthService/Login", {
      headers: { "content-type": "application/json", "x-forwarded-for": address },
      body: JSON.stringify({ username: "TESTUSER", password }),
    });

  expect((await login("a", "203.0.113.5")).status).toBe(401);
  expect((await token("TestUser", "b", "198.51.100.1, 203.0.113.5")).status).toBe(403);
  expect((await rpc("c", "198.51.100.2, 203.0.113.5")).status).toBe(401);

  const refused = [
    await login("password", "203.0.113.5"),
    await token("TestUser", "password", "198.51.100.3, 203.0.113.5"),
    await rpc("password", "203.0.113.5"),
  ];
  for (const { status, headers } of refused) {
    expect(status).toBe(429);
    expect(Number(headers["retry-after"])).toBeGreaterThan(0);
    expect(Number(headers["retry-after"])).toBeLessThanOrEqual(60);
  }
  const accepted = await token("TestUser", "password", "203.0.113.6");
  expect(accepted.status).toBe(200);
  const { token: jwt } = JSON.parse(accepted.body) as { token: string };
  const renewed = await client.call("/api/auth/token", {
    headers: { authorization: `Bearer ${jwt}`, "x-forwarded-for": "203.0.113.5" },
  });
  expect(renewed.status).toBe(200);
  client.close();
});

test("throttling can be turned off", async () => {
  service = await startService({ THROTTLE_FAILURES: "0" }, [testUser]);
  const client = createHttpClient(service.url);
  for (let i = 0; i < 15; i++) {
    const headers = { authorization: basic("TestUser", "wrong") };
    expect((await client.call("/api/auth/token", { headers })).status).toBe(403);
  }
  client.close();
});

test("while failures cannot be counted no password is checked, and tokens are renewed", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "latchkey-"));
  const store = await openStore(parseConfig({ DATA_DIR: dataDir }));
  await store.users.add(testUser);
  let isLost = false;
  const lost = () => Promise.reject(storeUnavailable("gone"));
  const throttle: ThrottleStore = {
    read: (keys) => (isLost ? lost() : store.throttle.read(keys)),
    write: (...write) => (isLost ? lost() : store.throttle.write(...write)),
    list: () => store.throttle.list(),
    now: () => store.throttle.now(),
  };
  service = await startService({}, [], { store: { ...store, throttle } });
  const client = createHttpClient(service.url);
  const token = (authorization: string) =>
    client.call("/api/auth/token", { headers: { authorization } });
  const accepted = await token(basic("TestUser", "password"));
  const { token: jwt } = JSON.parse(accepted.body) as { token: string };

  isLost = true;
  const body = JSON.stringify({ username: "TestUser", password: "wrong" });
  const headers = { "content-type": "application/json" };
  const refused = [
    await token(basic("TestUser", "password")),
    await token(basic("TestUser", "wrong")),
    await client.call("/api/v1/authentication/login", { headers, body }),
    await client.call("/auth.v1.AuthService/Login", { headers, body }),
  ];
  expect(refused.map(({ status }) => status)).toEqual([500, 500, 503, 503]);
  for (const answer of refused) expect(Number(answer.headers["retry-after"])).toBeGreaterThan(0);
  expect((await token(`Bearer ${jwt}`)).status).toBe(200);
  client.close();
  await service.close();
  service = undefined;
  await store.close();
  rmSync(dataDir, { recursive: true });
});
