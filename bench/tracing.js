/**
 * The cost of traces: CPU time of a renewal without them, with them, and in another build.
 *
 *   npm run bench:tracing -- --before ../older/dist/src/main.js
 */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { loadHttp1 } from "./load.js";
import { cpuMicros, main, run, start } from "./process.js";

const { values: options } = parseArgs({
  options: {
    before: { type: "string" },
    rounds: { type: "string", default: "7" },
    requests: { type: "string", default: "4000" },
  },
});
const folder = mkdtempSync(join(tmpdir(), "latchkey-bench-"));
const password = "correct horse battery";
const env = { DATA_DIR: folder };

/** A collector in this process, whose CPU time does not count; accepts everything. */
const collector = createServer((req, res) => req.resume().on("end", () => res.end()));
await new Promise((listening) => collector.listen(0, "127.0.0.1", listening));
const tracing = { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.address().port}` };

const rows = [
  ...(options.before ? [["before", resolve(options.before), {}, undefined]] : []),
  ["off", main, {}, undefined],
  ["off, traceparent sent", main, {}, "01"],
  ["on, not sampled", main, tracing, "00"],
  [
    "on, every tenth",
    main,
    { ...tracing, OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "0.1" },
    undefined,
  ],
  ["on, every request", main, tracing, undefined],
];

async function measure([, file, extra, flags]) {
  const server = await start([file, "serve"], { ...env, ...extra });
  const { url, pid } = server;
  try {
    const authorization = `Basic ${Buffer.from(`bench:${password}`).toString("base64")}`;
    const login = await fetch(`${url}/api/auth/token`, {
      method: "POST",
      headers: { authorization },
    });
    const { token } = await login.json();
    const traceparent = `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-${flags}`;
    const headers = { authorization: `Bearer ${token}`, ...(flags && { traceparent }) };
    const count = Number(options.requests);
    const request = { path: "/api/auth/token", headers };
    await loadHttp1(url, request, { count, concurrency: 16 });
    const before = cpuMicros(pid);
    await loadHttp1(url, request, { count, concurrency: 16 });
    return (cpuMicros(pid) - before) / count;
  } finally {
    await server.stop();
  }
}

const median = (figures) => figures.toSorted((a, b) => a - b)[Math.floor(figures.length / 2)];
try {
  run(["users", "add", "bench", "--password-stdin"], env, password);
  const results = rows.map(() => []);
  for (let round = 0; round < Number(options.rounds); round++) {
    for (const [index, row] of rows.entries()) results[index].push(await measure(row));
  }
  const base = median(results[0]);
  console.log("| traces | CPU us/request | change |\n|---|---|---|");
  for (const [index, [name]] of rows.entries()) {
    const cpu = median(results[index]);
    console.log(`| ${name} | ${cpu.toFixed(0)} | ${((cpu / base - 1) * 100).toFixed(1)}% |`);
  }
} finally {
  collector.closeAllConnections();
  collector.close();
  rmSync(folder, { recursive: true, force: true });
}
