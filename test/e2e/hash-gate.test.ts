/** Logins whose hashes take long: who gets in, who waits, and what tokens feel of it. */
import { afterEach, expect, test } from "@jest/globals";
import { readdirSync, readFileSync } from "node:fs";
import { platform } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { basic } from "../support/http.js";
import { keptLogs, startService, testUser, type RunningService } from "../support/service.js";

/** bcrypt of `password`, at a cost of some 20 ms, and of some 150 ms. */
const shortHash = "$2y$08$gklNUrByJdy6WmI2.PM/qeZNSNHJzkVDRK/BSu8kRJXHNqIqtCw5K";
const longHash = "$2y$11$5LcqlBq5WvXbop5LQ9BY9.aFQHuY3q2MJpwZgUiyzC6kyWcO/tb5.";
const user = (username: string, passwordHash: string) => ({
  ...testUser,
  id: { type: "string", value: username } as const,
  username,
  passwordHash,
});

let service: RunningService | undefined;
afterEach(() => service?.close());

async function call(authorization: string, address = "203.0.113.1") {
  const answer = await fetch(`${service?.url}/api/auth/token`, {
    method: "POST",
    headers: { authorization, "x-forwarded-for": address },
  });
  return { status: answer.status, retryAfter: answer.headers.get("retry-after"), answer };
}
const login = (username: string, address?: string) => call(basic(username, "password"), address);

/** The most hashes that were seen to run at once while `work` went on. */
async function mostRunning(work: Promise<unknown>): Promise<number> {
  let most = 0;
  const state = { isOver: false };
  void work.finally(() => (state.isOver = true));
  while (!state.isOver) {
    const page = await (await fetch(`${service?.managementUrl}/metrics`)).text();
    most = Math.max(most, Number(/^latchkey_hashes_running (\d+)/m.exec(page)?.[1]));
    await sleep(10);
  }
  return most;
}

/** The threads of this process that give way to its first one. */
function lesserThreads(): string[] {
  const tasks = "/proc/self/task";
  // The nineteenth field of proc_pid_stat(5); the second, in brackets, may have blanks in it.
  const niceOf = (id: string) =>
    Number(readFileSync(`${tasks}/${id}/stat`, "utf8").split(") ").at(-1)?.split(" ")[16]);
  return readdirSync(tasks).filter((id) => niceOf(id) > niceOf(String(process.pid)));
}

const onLinux = platform() === "linux" ? test : test.skip;

// The first one, since threads are kept.
onLinux("a hash has a thread with less priority", async () => {
  const before = lesserThreads();
  service = await startService({ HASH_CONCURRENCY: "1", REHASH: "off" }, [user("slow", shortHash)]);
  expect((await login("slow")).status).toBe(200);
  expect(lesserThreads()).toHaveLength(before.length + 1);
});

test("a network that floods is shed, one that does not gets in every time", async () => {
  service = await startService(
    { TRUST_PROXY: "1", HASH_QUEUE_MAX: "8", HASH_CONCURRENCY: "1", REHASH: "off" },
    [user("noisy", shortHash), user("quiet", shortHash)],
  );
  let isOver = false;
  const shed: (string | null)[] = [];
  let accepted = 0;
  const flood = Array.from({ length: 40 }, async () => {
    while (!isOver) {
      const { status, retryAfter } = await login("noisy", "198.51.100.1");
      if (status === 200) accepted++;
      else shed.push(status === 503 ? retryAfter : `status ${status}`);
    }
  });
  await sleep(500);
  const statuses: number[] = [];
  for (let i = 0; i < 20; i++) statuses.push((await login("quiet", "203.0.113.1")).status);
  isOver = true;
  await Promise.all(flood);
  expect(statuses).toEqual(Array(20).fill(200));
  expect(accepted).toBeGreaterThan(0);
  expect(shed.length).toBeGreaterThan(20);
  expect(shed.filter((retryAfter) => !(Number(retryAfter) >= 1))).toEqual([]);
});

test("a hundred logins at once all succeed however long their hashes take", async () => {
  service = await startService({ THROTTLE_FAILURES: "10", REHASH: "off" }, [
    user("slow", longHash),
  ]);
  const statuses = await Promise.all(
    Array.from({ length: 100 }, async () => (await login("slow")).status),
  );
  expect(statuses).toEqual(Array(100).fill(200));
});

test("hashes take every core until a token comes to be renewed", async () => {
  const env = { HASH_CONCURRENCY: "1", REHASH: "off" };
  const deps = { quietHashConcurrency: 2 };
  service = await startService(env, [user("slow", longHash)], deps);
  const { answer } = await login("slow");
  const { token } = (await answer.json()) as { token: string };
  const logins = () => Promise.all(Array.from({ length: 6 }, () => login("slow")));
  expect(await mostRunning(logins())).toBe(2);

  const state = { isOver: false };
  const renewals = (async () => {
    while (!state.isOver) {
      expect((await call(`Bearer ${token}`)).status).toBe(200);
      await sleep(100);
    }
  })();
  await sleep(300);
  const most = await mostRunning(logins());
  state.isOver = true;
  await renewals;
  expect(most).toBe(1);
});

test("who leaves or runs out of time in the queue is never hashed, and is told of in the audit log", async () => {
  const lines: string[] = [];
  const env = { HASH_CONCURRENCY: "1", REHASH: "off" };
  service = await startService(env, [user("slow", longHash)], { logs: keptLogs(lines) });
  const logins = Array.from({ length: 6 }, () => login("slow"));
  await sleep(50);
  const body = JSON.stringify({ username: "slow", password: "password" });
  const rest = () =>
    fetch(`${service?.url}/api/v1/authentication/login`, {
      method: "POST",
      body,
      signal: AbortSignal.timeout(50),
    }).catch(() => undefined);
  const rpc = () =>
    fetch(`${service?.url}/auth.v1.AuthService/Login`, {
      method: "POST",
      headers: { "content-type": "application/json", "connect-timeout-ms": "50" },
      body,
    });
  await Promise.all(Array.from({ length: 3 }, () => [rest(), rpc()]).flat());
  expect((await Promise.all(logins)).map(({ status }) => status)).toEqual(Array(6).fill(200));
  const attempts = lines
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ event }) => event === "attempt");
  const left = attempts.filter(({ reason }) => reason === "aborted");
  expect(left.map(({ surface }) => surface).sort()).toEqual(
    ["rest_login", "rpc_login"].flatMap((surface) => Array<string>(3).fill(surface)),
  );
  expect(left.every(({ waitedMs }) => waitedMs === undefined)).toBe(true);
  expect(attempts).toHaveLength(12);
});
