/**
 * `npm run bench`: CPU time per request of Latchkey and of its peers, measured in turn in one run, as a
 * ratio to the two RSA operations that a re-issue cannot do without.
 *
 *   npm run bench -- --rounds 5 --json new.json
 *   npm run bench -- --compare old.json
 */
import { spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { SignJWT } from "jose";
import { measureLimit } from "./limit.js";
import { loadHttp1, loadHttp2 } from "./load.js";

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    requests: { type: "string", default: "2000" },
    only: { type: "string", default: "" },
    json: { type: "string" },
    compare: { type: "string" },
  },
});
const here = import.meta.dirname;
const main = resolve(here, "../dist/src/main.js");
const folder = mkdtempSync(join(tmpdir(), "latchkey-bench-"));
const keyFile = join(folder, "key.pem");
const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
writeFileSync(keyFile, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });

const rpcPath = "/auth.v1.AuthService/IssueToken";
const emptyEnvelope = Buffer.alloc(5);
const credentials = JSON.stringify({ username: "bench", password: "correct horse battery" });

/** How a row calls; `token` is one that the server accepts. */
const calls = {
  rest: (token) => ({ path: "/api/auth/token", headers: { authorization: `Bearer ${token}` } }),
  login: () => ({
    path: "/api/v1/authentication/login",
    headers: { "content-type": "application/json" },
    body: credentials,
  }),
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
    body: emptyEnvelope,
  }),
  keySet: () => ({ method: "GET", path: "/.well-known/jwks.json", headers: {} }),
  static: () => ({ method: "GET", path: "/static", headers: {} }),
};

const latchkey = { command: [main, "serve"], env: {} };
const mongo = process.env.BENCH_MONGODB_URI;
const peer = (file, env = {}) => ({ command: [join(here, "peers", file)], env });
const loginRequests = Math.ceil(Number(options.requests) / 10);

const rows = [
  ["REST re-issue", latchkey, loadHttp1, calls.rest],
  ["  bare node:http, jose", peer("node-http-jose.js"), loadHttp1, calls.rest],
  ["  Fastify, fast-jwt", peer("fastify-fast-jwt.js"), loadHttp1, calls.rest],
  ["Connect JSON, HTTP/1.1", latchkey, loadHttp1, calls.connectJson],
  ["Connect binary, HTTP/1.1", latchkey, loadHttp1, calls.connectBinary],
  ["  stock connect-node, JSON", peer("connect-node.js"), loadHttp1, calls.connectJson],
  ["Connect binary, h2c", latchkey, loadHttp2, calls.connectBinary],
  ["gRPC, h2c", latchkey, loadHttp2, calls.grpc],
  ["  bare grpc-js", peer("grpc-js.js"), loadHttp2, calls.grpc],
  [
    "  stock connect-node, gRPC",
    peer("connect-node.js", { BENCH_HTTP2: "1" }),
    loadHttp2,
    calls.grpc,
  ],
  ["key set", latchkey, loadHttp1, calls.keySet],
  ["  bare node:http, static", peer("node-http-jose.js"), loadHttp1, calls.static],
  ["REST login", latchkey, loadHttp1, calls.login, loginRequests],
  ...(mongo
    ? [
        [
          "REST re-issue, MongoDB",
          { ...latchkey, env: { MONGODB_URI: mongo } },
          loadHttp1,
          calls.rest,
        ],
      ]
    : []),
].filter(([name]) => name.includes(options.only));

async function start({ command, env }) {
  const child = spawn(process.execPath, command, {
    env: {
      PATH: process.env.PATH,
      BENCH_KEY: keyFile,
      SIGNING_KEY_FILE: keyFile,
      DATA_DIR: join(folder, "data"),
      PORT: "0",
      MANAGEMENT_PORT: "0",
      LOG_LEVEL: "info",
      ...env,
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout });
  const url = await new Promise((started, failed) => {
    child.once("exit", (code) => failed(new Error(`${command[0]} ended with ${code}`)));
    lines.on("line", (line) => {
      const { event, url } = JSON.parse(line);
      if (event === "started") started(url);
    });
  });
  return {
    url,
    pid: child.pid,
    stop: () =>
      new Promise((stopped) => {
        child.once("exit", stopped);
        child.kill("SIGTERM");
      }),
  };
}

/** User and system time of a process, all threads, in microseconds; the kernel counts in 10 ms. */
function cpuMicros(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

function command(...args) {
  return new Promise((done, failed) => {
    const child = spawn(process.execPath, [main, ...args], {
      env: { PATH: process.env.PATH, DATA_DIR: join(folder, "data"), ...(mongo && args.mongo) },
      stdio: ["pipe", "ignore", "inherit"],
    });
    child.stdin.end("correct horse battery\n");
    child.once("exit", (code) => (code === 0 ? done() : failed(new Error(args.join(" ")))));
  });
}

const median = (figures) => figures.toSorted((a, b) => a - b)[Math.floor(figures.length / 2)];
const quantile = (figures, q) => figures.toSorted((a, b) => a - b)[Math.floor(figures.length * q)];

const issuedAt = Math.floor(Date.now() / 1000) + 5;
const token = () =>
  new SignJWT({
    sub: "1",
    iss: "NomicGameManager.Api",
    exp: issuedAt + 7200,
    iat: issuedAt,
    nbf: issuedAt,
    jti: "bench",
    auth_time: issuedAt,
  });

async function measure([, server, load, call, count = Number(options.requests)], kid) {
  const running = await start(server);
  try {
    const signed = await token()
      .setProtectedHeader({ typ: "JWT", alg: "RS256", kid })
      .sign(privateKey);
    const request = call(signed);
    await load(running.url, request, { count, concurrency: 16 });
    const [cpu, time] = [cpuMicros(running.pid), performance.now()];
    const latencies = await load(running.url, request, { count, concurrency: 16 });
    return {
      cpuMicros: (cpuMicros(running.pid) - cpu) / count,
      perSecond: (count * 1000) / (performance.now() - time),
      p50: quantile(latencies, 0.5),
      p99: quantile(latencies, 0.99),
    };
  } finally {
    await running.stop();
  }
}

try {
  await command("users", "add", "bench", "--id", "1", "--password-stdin");
  const published = await start(latchkey);
  const { keys } = await (await fetch(`${published.url}/.well-known/jwks.json`)).json();
  await published.stop();
  await new Promise((resolve) => setTimeout(resolve, 5000));

  const limits = [];
  const results = new Map(rows.map(([name]) => [name, []]));
  for (let round = 0; round < Number(options.rounds); round++) {
    limits.push(measureLimit(keyFile));
    for (const row of rows) results.get(row[0]).push(await measure(row, keys[0].kid));
  }
  const limit = median(limits);
  const old = options.compare ? JSON.parse(readFileSync(options.compare, "utf8")) : undefined;
  const table = rows.map(([name]) => {
    const figures = results.get(name);
    const of = (key) => median(figures.map((figure) => figure[key]));
    const row = { name, cpuMicros: of("cpuMicros"), perSecond: of("perSecond") };
    return { ...row, ofLimit: limit / row.cpuMicros, p50: of("p50"), p99: of("p99") };
  });
  console.log(`limit: ${limit.toFixed(0)} us for one RSA-2048 verification and one signature\n`);
  console.log("| row | CPU us/request | limit/row | requests/s | p50 ms | p99 ms |");
  console.log("|---|---|---|---|---|---|");
  for (const row of table) {
    const before = old?.table.find(({ name }) => name === row.name);
    const change = before ? ` (${((row.cpuMicros / before.cpuMicros - 1) * 100).toFixed(0)}%)` : "";
    const cells = [row.cpuMicros.toFixed(0) + change, row.ofLimit.toFixed(2)];
    const rest = [row.perSecond.toFixed(0), row.p50.toFixed(1), row.p99.toFixed(1)];
    console.log(`| ${row.name} | ${[...cells, ...rest].join(" | ")} |`);
  }
  if (options.json) writeFileSync(options.json, JSON.stringify({ limit, table }, null, 2));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
