/**
 * The costs of a take-over: forwarding compared with a bare proxy, a login that Latchkey leads compared with one
 * without a take-over, the slowest answers while the old server hangs, and how well failed logins can be told apart by
 * their duration.
 *
 *   npm run bench:takeover [-- ROUNDS [BENCH]]     (default: 3; the best one counts)
 */
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadHttp1 } from "./load.js";
import { cpuMicros, main, run, start } from "./process.js";

const rounds = Number(process.argv[2] ?? 3);
const only = process.argv[3];
const path = "/api/auth/token";
/** The password of every user of the old server. */
const password = "an old password";
const folder = mkdtempSync(join(tmpdir(), "latchkey-bench-"));
const peers = join(import.meta.dirname, "peers");
const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const files = { key: join(folder, "key.pem"), public: join(folder, "public.pem") };
writeFileSync(files.key, privateKey.export({ type: "pkcs8", format: "pem" }));
writeFileSync(files.public, publicKey.export({ type: "spki", format: "pem" }));

const basic = (name, given = password) => ({
  path,
  headers: { authorization: `Basic ${btoa(`${name}:${given}`)}` },
});
const old = await start([join(peers, "old-server.js")], { KEY_FILE: files.key });
const common = { UPSTREAM_URL: old.url, TRUSTED_KEYS_FILE: files.public };
const throttle = {
  THROTTLE_FAILURES: "1000000",
  THROTTLE_USER_FAILURES: "1000000",
  THROTTLE_NETWORK_FAILURES: "1000000",
};
const latchkey = (name, env) =>
  start([main, "serve"], {
    LOG_LEVEL: "info",
    AUDIT_LOG: "off",
    DATA_DIR: join(folder, name),
    ...env,
  });

/** CPU microseconds a request of several servers, measured in turn; the best of the rounds. */
async function compare(servers, request, load) {
  const best = servers.map(() => Infinity);
  for (const { url } of servers) await loadHttp1(url, request, { ...load, count: load.warm });
  for (let round = 0; round < rounds; round++) {
    for (const [index, { url, pid }] of servers.entries()) {
      const before = cpuMicros(pid);
      await loadHttp1(url, request, load);
      best[index] = Math.min(best[index], (cpuMicros(pid) - before) / load.count);
    }
  }
  return best;
}

const ratio = (a, b) => (a / b).toFixed(2);

async function benchForwarding() {
  const proxy = await start([join(peers, "undici-proxy.js")], { UPSTREAM_URL: old.url });
  const led = await latchkey("forwarding", common);
  const first = await fetch(old.url, { method: "POST", headers: { authorization: "Bearer x" } });
  const { token } = await first.json();
  const bearer = { path, headers: { authorization: `Bearer ${token}` } };
  // Long enough to use up the saved time for comparing.
  const load = { count: 20_000, warm: 80_000, concurrency: 16 };
  const [bare, ours] = await compare([proxy, led], bearer, load);
  console.log(
    `forwarding: ${ours.toFixed(0)} us, bare undici proxy ${bare.toFixed(0)} us: ${ratio(ours, bare)} (at most 1.6)`,
  );
  await proxy.stop();
  await led.stop();
}

async function benchLogin() {
  run(
    ["users", "add", "user1", "--id", "1", "--password-stdin"],
    { DATA_DIR: join(folder, "alone") },
    `${password}\n`,
  );
  const alone = await latchkey("alone", {});
  const led = await latchkey("led", { ...common, UPSTREAM_LEAD: "100" });
  const load = { count: 300, warm: 50, concurrency: 4 };
  const [bare, ours] = await compare([alone, led], basic("user1"), load);
  console.log(
    `a led login of a learnt user: ${ours.toFixed(0)} us, without a take-over ${bare.toFixed(0)} us: ${ratio(ours, bare)} (at most 1.05)`,
  );
  await alone.stop();
  await led.stop();
}

const agent = new Agent({ keepAlive: true });

/** Milliseconds to the answer's status. */
function time(url, { headers }, expected) {
  return new Promise((resolve, reject) => {
    const startMs = performance.now();
    const req = request(url + path, { method: "POST", headers, agent }, (res) => {
      res.resume().once("end", () => resolve(performance.now() - startMs));
      if (!expected.includes(res.statusCode)) reject(new Error(`answered ${res.statusCode}`));
    });
    req.once("error", reject).end();
  });
}

async function benchHanging() {
  const timeoutMs = 1000;
  const led = await latchkey("hanging", {
    ...common,
    ...throttle,
    UPSTREAM_LEAD: "100",
    UPSTREAM_TIMEOUT: `${timeoutMs}ms`,
  });
  await time(led.url, basic("user1"), [200]);
  process.kill(old.pid, "SIGSTOP");
  const times = [];
  const client = async (_, index) => {
    for (let turn = 0; turn < 20; turn++) {
      times.push(await time(led.url, basic(`user${2 + index}`), [500]));
    }
  };
  await Promise.all(Array.from({ length: 8 }, client));
  process.kill(old.pid, "SIGCONT");
  times.sort((a, b) => a - b);
  const p99 = times[Math.ceil(times.length * 0.99) - 1];
  console.log(
    `p99 under a hanging old server: ${p99.toFixed(0)} ms with a deadline of ${timeoutMs} ms; median ${times[times.length >> 1].toFixed(0)} ms`,
  );
  await led.stop();
}

/** The share of pairs in which the value of `b` is greater; ties count half. */
function areaUnderCurve(a, b) {
  let greater = 0;
  for (const x of a) for (const y of b) greater += y > x ? 1 : y === x ? 0.5 : 0;
  const area = greater / (a.length * b.length);
  return Math.max(area, 1 - area);
}

async function benchTiming() {
  const samples = 100 * rounds;
  const users = Array.from({ length: 20 }, (_, i) => ({
    _id: 100 + i,
    username: `user${100 + i}`,
  }));
  const env = { DATA_DIR: join(folder, "timing") };
  run(["users", "import", "-"], env, users.map((user) => JSON.stringify(user)).join("\n"));
  const led = await latchkey("timing", { ...common, ...throttle, UPSTREAM_LEAD: "100" });
  for (let id = 1; id <= 20; id++) await time(led.url, basic(`user${id}`), [200]);
  const names = {
    unknown: (i) => `nobody${i % 20}`,
    known: (i) => `user${100 + (i % 20)}`,
    learnt: (i) => `user${1 + (i % 20)}`,
  };
  const times = { unknown: [], known: [], learnt: [] };
  for (let i = 0; i < samples; i++) {
    for (const [name, nameOf] of Object.entries(names)) {
      times[name].push(await time(led.url, basic(nameOf(i), "wrong"), [403]));
    }
  }
  for (const [a, b] of [
    ["unknown", "known"],
    ["unknown", "learnt"],
    ["known", "learnt"],
  ]) {
    console.log(
      `failed logins of ${a} and ${b} names: area under the curve ${areaUnderCurve(times[a], times[b]).toFixed(3)} (at most .55)`,
    );
  }
  await led.stop();
}

const benches = {
  forwarding: benchForwarding,
  login: benchLogin,
  hanging: benchHanging,
  timing: benchTiming,
};
try {
  for (const [name, bench] of Object.entries(benches)) {
    if (only === undefined || name === only) await bench();
  }
} finally {
  agent.destroy();
  await old.stop();
  rmSync(folder, { recursive: true });
}
