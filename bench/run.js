/**
 * `npm run bench`: CPU time per request of Latchkey and of its peers, measured in turn in one run, as a ratio to the
 * two RSA operations that every renewal needs; logins compared with the hashes alone; and the time to the first answer.
 *
 *   npm run bench -- --rounds 5 --json new.json
 *   npm run bench -- --compare old.json
 *   npm run bench -- --only renewal --users 1000000
 *   npm run bench -- --only "REST renewal" --rounds 1 --seconds 300
 *   BENCH_MONGODB_URI=mongodb://127.0.0.1/bench npm run bench -- --only MongoDB
 */
import { generateKeyPairSync } from "node:crypto";
import { createWriteStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { hash } from "@node-rs/argon2";
import { SignJWT } from "jose";
import { measureHashes, measureLimit } from "./limit.js";
import { loadHttp1, loadHttp2 } from "./load.js";
import { cpuMicros, main, residentMiB, run, start } from "./process.js";

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    requests: { type: "string", default: "5000" },
    seconds: { type: "string", default: "1" },
    users: { type: "string" },
    only: { type: "string", default: "" },
    json: { type: "string" },
    compare: { type: "string" },
  },
});
const concurrency = 16;
/** Requests before the measured ones, until V8's compiler has finished. */
const warmup = 15_000;
const requests = Number(options.requests);
/** The least CPU time of a measurement; it is a second or more, because the kernel counts in steps of 10 ms. */
const measuredCpuMicros = Number(options.seconds) * 1e6;
const loginsPerWindow = 150;

const here = import.meta.dirname;
const folder = mkdtempSync(join(tmpdir(), "latchkey-bench-"));
const keyFile = join(folder, "key.pem");
const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
writeFileSync(keyFile, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });

const password = "correct horse battery";
const rpcPath = "/auth.v1.AuthService/IssueToken";

/** One user for each client, because the throttle counts many simultaneous logins of one user as guesses. */
const usernames = Array.from({ length: concurrency }, (_, index) => `user${index + 1}`);
/** Users whose hashes cost almost nothing. */
const warmupUsernames = usernames.map((username) => `warmup-${username}`);

/** The requests of each row; the server accepts `token`. */
const calls = {
  rest: (token) => ({ path: "/api/auth/token", headers: { authorization: `Bearer ${token}` } }),
  login: (names) =>
    names.map((username) => ({
      path: "/api/v1/authentication/login",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ username, password }),
    })),
  connectJson: (token) => ({
    path: rpcPath,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: "{}",
  }),
  connectBinary: (token) => ({
    path: rpcPath,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/proto" },
  }),
  grpc: (token) => ({
    path: rpcPath,
    headers: {
      authorization: `Bearer ${token}`,
      "content-type": "application/grpc",
      te: "trailers",
    },
    body: Buffer.alloc(5),
  }),
  clientCredentials: () => ({
    path: "/token",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: "grant_type=client_credentials&client_id=bench&client_secret=bench",
  }),
  keySet: () => ({ method: "GET", path: "/.well-known/jwks.json", headers: {} }),
};

const latchkey = (env = {}) => ({ args: [main, "serve"], env });
const peer = (file, env = {}) => ({ args: [join(here, "peers", file)], env });
const mongo = process.env.BENCH_MONGODB_URI && { MONGODB_URI: process.env.BENCH_MONGODB_URI };
const many = options.users && { DATA_DIR: join(folder, "many") };
const bare = {
  args: [
    "-e",
    `const s = require("http").createServer((_, res) => res.end("{}")).listen(0, "127.0.0.1", () =>
      console.log(JSON.stringify({ event: "started", url: "http://127.0.0.1:" + s.address().port })))`,
  ],
  env: {},
};

const rows = [
  ["REST renewal", latchkey(), loadHttp1, calls.rest],
  ["  bare node:http, jose", peer("node-http-jose.js"), loadHttp1, calls.rest],
  ["  Fastify, fast-jwt", peer("fastify-fast-jwt.js"), loadHttp1, calls.rest],
  [
    "  oidc-provider, client credentials",
    peer("oidc-provider.js"),
    loadHttp1,
    calls.clientCredentials,
  ],
  ["REST renewal, 2 workers", latchkey({ WORKERS: "2" }), loadHttp1, calls.rest],
  ...(many
    ? [[`REST renewal, ${options.users} users`, latchkey(many), loadHttp1, calls.rest]]
    : []),
  ...(mongo
    ? [
        ["REST renewal, MongoDB", latchkey(mongo), loadHttp1, calls.rest],
        [
          "  bare node:http, jose, MongoDB",
          peer("node-http-jose.js", mongo),
          loadHttp1,
          calls.rest,
        ],
      ]
    : []),
  ["Connect JSON, HTTP/1.1", latchkey(), loadHttp1, calls.connectJson],
  ["Connect binary, HTTP/1.1", latchkey(), loadHttp1, calls.connectBinary],
  ["  stock connect-node, JSON", peer("connect-node.js"), loadHttp1, calls.connectJson],
  ["Connect binary, h2c", latchkey(), loadHttp2, calls.connectBinary],
  ["gRPC, h2c", latchkey(), loadHttp2, calls.grpc],
  ["  bare grpc-js", peer("grpc-js.js"), loadHttp2, calls.grpc],
  [
    "  stock connect-node, gRPC",
    peer("connect-node.js", { BENCH_HTTP2: "1" }),
    loadHttp2,
    calls.grpc,
  ],
  ["key set", latchkey(), loadHttp1, calls.keySet],
  ["  bare node:http, the same document", peer("node-http-jose.js"), loadHttp1, calls.keySet],
].filter(([name]) => name.includes(options.only));

const store = { DATA_DIR: join(folder, "data") };

/** Starts a peer or Latchkey, with the same key. */
const startServer = ({ args, env }) =>
  start(args, { BENCH_KEY: keyFile, SIGNING_KEY_FILE: keyFile, ...store, ...env });

async function importUsers(env, count) {
  const file = join(folder, "users.ndjson");
  const passwordHash = await hash(password);
  const cheapHash = await hash(password, { memoryCost: 8, timeCost: 1 });
  const out = createWriteStream(file);
  for (let id = 1; id <= count; id++) {
    const warmupUsername = warmupUsernames[id - 1 - usernames.length];
    const user = warmupUsername
      ? { username: warmupUsername, passwordHash: cheapHash }
      : { username: `user${id}`, passwordHash };
    if (!out.write(`${JSON.stringify({ _id: id, ...user })}\n`))
      await new Promise((drained) => out.once("drain", drained));
  }
  await new Promise((ended) => out.end(ended));
  run(["users", "import", file], { ...store, ...env });
}

const sorted = (figures) => figures.toSorted((a, b) => a - b);
const median = (figures) => sorted(figures)[Math.floor(figures.length / 2)];
const quantile = (figures, q) => sorted(figures)[Math.floor(figures.length * q)];

const issuedAt = Math.floor(Date.now() / 1000) + 5;
const token = (kid) =>
  new SignJWT({
    sub: "1",
    iss: "NomicGameManager.Api",
    exp: issuedAt + 7200,
    iat: issuedAt,
    jti: "bench",
    auth_time: issuedAt,
  })
    .setProtectedHeader({ typ: "JWT", alg: "RS256", kid })
    .sign(privateKey);

/** The server's CPU time for each request that `work` makes, and the number of requests a second. */
async function costOf(pid, work) {
  const [cpu, time] = [cpuMicros(pid), performance.now()];
  const count = await work();
  return {
    cpuMicros: (cpuMicros(pid) - cpu) / count,
    perSecond: (count * 1000) / (performance.now() - time),
  };
}

async function measure([, server, load, call], signed) {
  const running = await startServer(server);
  try {
    const request = call(signed);
    await load(running.url, request, { count: warmup, concurrency });
    const latencies = [];
    const cost = await costOf(running.pid, async () => {
      const enough = cpuMicros(running.pid) + measuredCpuMicros;
      while (cpuMicros(running.pid) < enough) {
        latencies.push(...(await load(running.url, request, { count: requests, concurrency })));
      }
      return latencies.length;
    });
    return {
      ...cost,
      p50: quantile(latencies, 0.5),
      p99: quantile(latencies, 0.99),
      memoryMiB: residentMiB(running.pid),
    };
  } finally {
    await running.stop();
  }
}

/** Milliseconds from the start of a process to its first answer. */
async function measureStart(server, path) {
  const begun = performance.now();
  const running = await startServer(server);
  await (await fetch(running.url + path)).arrayBuffer();
  const elapsed = performance.now() - begun;
  await running.stop();
  return elapsed;
}

/** Logins a second with two hashes at a time, and, in turn, the same hashes alone. */
async function measureLogins() {
  const encoded = await hash(password);
  const running = await startServer(latchkey({ HASH_CONCURRENCY: "2", REHASH: "off" }));
  const login = (names, count) =>
    loadHttp1(running.url, calls.login(names), { count, concurrency });
  try {
    await login(warmupUsernames, warmup);
    await login(usernames, 2 * concurrency);
    const windows = [];
    for (let i = 0; i < 4; i++) {
      const alone = await measureHashes(encoded, password, loginsPerWindow);
      const logins = async () => (await login(usernames, loginsPerWindow)).length;
      windows.push({ alone, ...(await costOf(running.pid, logins)) });
    }
    return windows;
  } finally {
    await running.stop();
  }
}

try {
  await importUsers({}, 2 * usernames.length);
  if (mongo) await importUsers(mongo, usernames.length).catch(() => undefined);
  if (many) await importUsers(many, Number(options.users));
  const published = await startServer(latchkey());
  const { keys } = await (await fetch(`${published.url}/.well-known/jwks.json`)).json();
  await published.stop();
  const signed = await token(keys[0].kid);
  // Otherwise the token would be from the future.
  await new Promise((resolve) => setTimeout(resolve, 5000));

  const limits = [];
  const logins = [];
  const starts = { latchkey: [], bare: [] };
  const results = new Map(rows.map(([name]) => [name, []]));
  for (let round = 0; round < Number(options.rounds); round++) {
    limits.push(measureLimit(keyFile));
    for (const row of rows) results.get(row[0]).push(await measure(row, signed));
    if ("REST login".includes(options.only)) logins.push(...(await measureLogins()));
    for (let i = 0; i < 5 && "cold start".includes(options.only); i++) {
      starts.latchkey.push(await measureStart(latchkey(), "/.well-known/jwks.json"));
      starts.bare.push(await measureStart(bare, "/"));
    }
  }
  const limit = median(limits);
  const old = options.compare ? JSON.parse(readFileSync(options.compare, "utf8")) : undefined;
  const table = rows.map(([name]) => {
    const figures = results.get(name);
    const of = (key) => median(figures.map((figure) => figure[key]));
    const row = { name, cpuMicros: of("cpuMicros"), perSecond: of("perSecond") };
    const rest = { p50: of("p50"), p99: of("p99"), memoryMiB: of("memoryMiB") };
    return { ...row, ofLimit: limit / row.cpuMicros, ...rest };
  });
  console.log(`limit: ${limit.toFixed(0)} us for one RSA-2048 verification and one signature\n`);
  console.log("| row | CPU us/request | limit/row | requests/s | p50 ms | p99 ms | memory MiB |");
  console.log("|---|---|---|---|---|---|---|");
  for (const row of table) {
    const before = old?.table.find(({ name }) => name === row.name);
    const change = before ? ` (${((row.cpuMicros / before.cpuMicros - 1) * 100).toFixed(0)}%)` : "";
    const cells = [row.cpuMicros.toFixed(0) + change, row.ofLimit.toFixed(2)];
    const rest = [row.perSecond.toFixed(0), row.p50.toFixed(1), row.p99.toFixed(1)];
    console.log(`| ${row.name} | ${[...cells, ...rest, row.memoryMiB.toFixed(0)].join(" | ")} |`);
  }
  const login = logins.length > 0 && {
    perSecond: median(logins.map(({ perSecond }) => perSecond)),
    cpuMicros: median(logins.map(({ cpuMicros }) => cpuMicros)),
    ofHashes: median(logins.map(({ perSecond, alone }) => perSecond / alone)),
  };
  if (login) {
    console.log(
      `\nREST login, two hashes at a time: ${login.perSecond.toFixed(0)}/s, ` +
        `${login.ofHashes.toFixed(2)} of the hashes alone; ${(login.cpuMicros / 1000).toFixed(1)} ms CPU`,
    );
  }
  const start0 = starts.bare.length > 0 && {
    latchkeyMs: median(starts.latchkey),
    bareMs: median(starts.bare),
  };
  if (start0) {
    const { latchkeyMs, bareMs } = start0;
    console.log(
      `first answer after ${latchkeyMs.toFixed(0)} ms; bare node:http ${bareMs.toFixed(0)} ms`,
    );
  }
  if (options.json) {
    const machine = { node: process.version, cpu: cpus()[0]?.model, cores: cpus().length };
    const result = { ...machine, date: new Date(), limit, table, login, start: start0 };
    writeFileSync(options.json, `${JSON.stringify(result, null, 2)}\n`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
