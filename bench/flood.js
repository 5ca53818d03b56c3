/**
 * `npm run bench:flood`: logins at four times the hash capacity beside a steady stream of token renewals. Prints the
 * durations of the renewals beside the flood and alone. Then it prints how many more logins the gate allows while no
 * token is renewed, and how much longer the first renewal after that takes.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { main, run, start } from "./process.js";

const folder = isMainThread ? mkdtempSync(join(tmpdir(), "latchkey-flood-")) : "";
const password = "correct horse battery";
const env = {
  DATA_DIR: folder,
  HASH_QUEUE_MAX: "32",
  AUDIT_LOG: "off",
};
const seconds = 15;
const renewalsPerSecond = 200;
const windowMs = 1500;
const rounds = 8;

const quantile = (figures, q) => figures.toSorted((a, b) => a - b)[Math.floor(figures.length * q)];

function call(url, agent, path, headers, body = "") {
  const start = performance.now();
  return new Promise((done, failed) => {
    const req = request(new URL(path, url), { method: "POST", agent, headers }, (res) => {
      let text = "";
      res.on("data", (chunk) => (text += chunk));
      res.once("end", () =>
        done({ status: res.statusCode, ms: performance.now() - start, body: text }),
      );
    });
    req.once("error", failed);
    req.end(body);
  });
}

/** Calls at a fixed rate, no matter how long the answers take; resolves with all answers. */
async function steadily(perSecond, forSeconds, once) {
  const answers = [];
  const start = performance.now();
  for (let i = 0; i < perSecond * forSeconds; i++) {
    const waitMs = start + (i * 1000) / perSecond - performance.now();
    if (waitMs > 1) await sleep(waitMs);
    answers.push(once());
  }
  return Promise.all(answers);
}

/** Runs the service while `use` runs. */
async function withServer(more, use) {
  const server = await start([main, "serve"], { ...env, ...more });
  try {
    return await use(createClient(server.url), server.managementUrl);
  } finally {
    await server.stop();
  }
}

function createClient(url) {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const floodAgent = new Agent({ keepAlive: true, maxSockets: 256 });
  const basic = `Basic ${Buffer.from(`bench:${password}`).toString("base64")}`;
  const path = "/api/auth/token";
  return {
    url,
    login: () => call(url, agent, path, { authorization: basic }),
    flood: () => call(url, floodAgent, path, { authorization: basic }),
    renew: (token) => call(url, agent, path, { authorization: `Bearer ${token}` }),
  };
}

/** Runs the flood in a thread of its own, so that it does not slow down the client of the renewals. */
function flood(url, perSecond) {
  const worker = new Worker(new URL(import.meta.url), { workerData: { url, perSecond } });
  return new Promise((done, failed) => worker.once("message", done).once("error", failed));
}

const ms = (answers) => answers.map((answer) => answer.ms);

async function measureFlood(client, managementUrl) {
  /** The 99th percentile since the last call, in milliseconds. */
  const loopDelay = async () => {
    const page = await (await fetch(`${managementUrl}/metrics`)).text();
    return 1000 * Number(/^nodejs_eventloop_lag_p99_seconds (\S+)/m.exec(page)?.[1]);
  };
  const { token } = JSON.parse((await client.login()).body);
  const renew = () => client.renew(token);

  const hashStart = performance.now();
  for (let i = 0; i < 30; i++) await client.login();
  const perSecond = 30_000 / (performance.now() - hashStart);
  await steadily(renewalsPerSecond, 3, renew);

  const alone = await steadily(renewalsPerSecond, seconds, renew);
  await loopDelay();
  const [beside, logins] = await Promise.all([
    steadily(renewalsPerSecond, seconds, renew),
    flood(client.url, Math.ceil(4 * perSecond)),
  ]);
  const loopDelayMs = await loopDelay();

  const accepted = logins.filter(({ status }) => status === 200);
  const shed = logins.filter(({ status }) => status === 503);
  const [p99Alone, p99Beside] = [quantile(ms(alone), 0.99), quantile(ms(beside), 0.99)];
  const failed = [...alone, ...beside].filter(({ status }) => status !== 200).length;
  console.log(
    `hash capacity: ${perSecond.toFixed(0)} logins/s; offered: ${Math.ceil(4 * perSecond)}/s`,
  );
  console.log(`renewals: ${beside.length} beside the flood, ${failed} failed`);
  console.log(
    `renewal p99: ${p99Alone.toFixed(1)} ms alone, ${p99Beside.toFixed(1)} ms beside the flood, ratio ${(p99Beside / p99Alone).toFixed(2)}`,
  );
  console.log(
    `event loop delay p99 beside the flood: ${loopDelayMs.toFixed(1)} ms (timer resolution included)`,
  );
  console.log(
    `logins: ${accepted.length} accepted, ${shed.length} shed at a median of ${quantile(ms(shed), 0.5)?.toFixed(1)} ms, ${logins.length - accepted.length - shed.length} others`,
  );
}

/** Sixteen clients log in for `windowMs`; then a renewal is made among them. */
async function measureQuiet(client, token) {
  let isOver = false;
  let count = 0;
  const start = performance.now();
  const clients = Array.from({ length: 16 }, async () => {
    while (!isOver) {
      const { status } = await client.login();
      if (status === 200) count++;
    }
  });
  await sleep(windowMs);
  const perSecond = (count * 1000) / (performance.now() - start);
  const renewal = await client.renew(token);
  isOver = true;
  await Promise.all(clients);
  return { perSecond, ms: renewal.ms };
}

/** Measures both gates in turn, so that other work of the machine affects both. */
async function compareWidths(wide, narrow) {
  const { token } = JSON.parse((await wide.login()).body);
  const figures = { wide: [], narrow: [] };
  for (let round = 0; round < rounds; round++) {
    for (const [name, client] of Object.entries({ wide, narrow })) {
      figures[name].push(await measureQuiet(client, token));
      await sleep(1200);
    }
  }
  for (const [name, all] of Object.entries(figures)) {
    const perSecond = quantile(
      all.map((figure) => figure.perSecond),
      0.5,
    );
    console.log(
      `no token renewed, ${name} gate: ${perSecond.toFixed(0)} logins/s, then the first renewal in ${quantile(ms(all), 0.5).toFixed(1)} ms (medians)`,
    );
  }
}

async function measure() {
  run(["users", "add", "bench", "--password-stdin"], env, `${password}\n`);
  try {
    await withServer({}, measureFlood);
    const narrowest = { HASH_CONCURRENCY: String(Math.max(1, availableParallelism() - 1)) };
    await withServer({}, (wide) => withServer(narrowest, (narrow) => compareWidths(wide, narrow)));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (isMainThread) {
  await measure();
} else {
  const { url, perSecond } = workerData;
  const answers = await steadily(perSecond, seconds, createClient(url).flood);
  parentPort.postMessage(answers.map(({ status, ms }) => ({ status, ms })));
}
