/**
 * `npm run bench:import`: `users import` and `doctor` on both stores, with mixed hash families and two sizes, the
 * second ten times the first. Prints lines a second, CPU time and peak memory of our process, and for MongoDB the rate
 * of the driver's own `insertMany` of the same users in the same run.
 *
 *   npm run bench:import [-- USERS]       (default: 20,000 and 200,000)
 *
 * Uses the MongoDB of `MONGODB_URI`, or the one that the tests have installed.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { MongoClient } from "mongodb";

const sizes = [1, 10].map((times) => (times * Number(process.argv[2] ?? 200_000)) / 10);
const batchUsers = 1000;
const rawUsers = 20_000;
const root = resolve(import.meta.dirname, "..");
const main = join(root, "dist/src/main.js");
const folder = mkdtempSync(join(tmpdir(), "latchkey-import-"));

/** One hash of each family that Python's frameworks write, so that the census has many groups. */
const hashes = Object.values(
  Object.fromEntries(
    JSON.parse(readFileSync(join(root, "test/vectors/hashes-python.json"), "utf8")).flatMap(
      ({ family, hash }) => (hash === undefined ? [] : [[family, hash]]),
    ),
  ),
);
const user = (id) => ({
  _id: id,
  username: `user${id}`,
  passwordHash: hashes[id % hashes.length],
  disabled: false,
  roles: ["player"],
});

/** Makes the process print its CPU time in µs when it ends. */
const telling = `data:text/javascript,${encodeURIComponent(`
import { writeSync } from "node:fs";
process.on("exit", () => writeSync(3, JSON.stringify(process.resourceUsage())));`)}`;
/** A small heap limit, so that garbage does not hide the memory in use, and a growing heap ends the process. */
const boundedHeap = ["--max-semi-space-size=1", "--max-old-space-size=48"];
const sampleMs = 20;

/** The process's own memory in MiB, without the mapped pages of the store's file. */
function ownMib(pid) {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

async function run(args, env) {
  const start = performance.now();
  const child = spawn(process.execPath, [...boundedHeap, "--import", telling, main, ...args], {
    env: { PATH: process.env.PATH, KEY_ENCRYPTION_KEY: "00".repeat(32), ...env },
    stdio: ["ignore", "pipe", "inherit", "pipe"],
  });
  let peakMib = 0;
  const sampler = setInterval(() => (peakMib = Math.max(peakMib, ownMib(child.pid))), sampleMs);
  const [stdout, usage] = await Promise.all(
    [child.stdout, child.stdio[3]].map(async (stream) => (await stream.toArray()).join("")),
  );
  clearInterval(sampler);
  const { userCPUTime, systemCPUTime } = JSON.parse(usage);
  return {
    stdout,
    seconds: (performance.now() - start) / 1000,
    cpuSeconds: (userCPUTime + systemCPUTime) / 1e6,
    peakMib,
  };
}

async function usersFile(count) {
  const path = join(folder, `${count}.ndjson`);
  const output = createWriteStream(path);
  for (let id = 0; id < count; id++) {
    if (!output.write(`${JSON.stringify(user(id))}\n`)) await once(output, "drain");
  }
  await once(output.end(), "close");
  return path;
}

/** Users a second that the driver's own `insertMany` writes: the limit of any import through it. */
async function rawInsert(uri) {
  const client = new MongoClient(uri, { writeConcern: { w: "majority" } });
  const users = client.db().collection("raw");
  await users.createIndex({ username: 1 }, { unique: true });
  const start = performance.now();
  for (let first = 0; first < rawUsers; first += batchUsers) {
    const batch = Array.from({ length: batchUsers }, (_, i) => user(first + i));
    await users.insertMany(batch, { ordered: false });
  }
  const seconds = (performance.now() - start) / 1000;
  await users.drop();
  await client.close();
  return rawUsers / seconds;
}

async function drop(uri) {
  const client = new MongoClient(uri);
  await client.db().dropDatabase();
  await client.close();
}

const perSecond = (value) => `${Math.round(value).toLocaleString("en")}/s`;
const describe = (label, count, { seconds, cpuSeconds, peakMib }) =>
  `  ${label}: ${seconds.toFixed(1)} s, ${perSecond(count / seconds)}, ` +
  `CPU ${cpuSeconds.toFixed(1)} s, peak ${peakMib.toFixed(0)} MiB`;

async function measure(store, envOf, rawOf) {
  const peaks = { import: [], doctor: [] };
  for (const count of sizes) {
    const env = envOf(count);
    const file = await usersFile(count);
    console.log(`${store}, ${count.toLocaleString("en")} users`);
    const before = await rawOf?.(env);
    const imported = await run(["users", "import", file, "--json"], env);
    if (JSON.parse(imported.stdout).added !== count) throw new Error(imported.stdout);
    console.log(describe("import", count, imported));
    if (rawOf) {
      const [slower, faster] = [before, await rawOf(env)].sort((a, b) => a - b).map(perSecond);
      console.log(`  bare insertMany, before and after: ${slower} and ${faster}`);
    }
    const again = ["users", "import", file, "--json", "--on-conflict", "skip"];
    console.log(describe("the same again, skipped", count, await run(again, env)));
    const doctor = await run(["doctor", "--json"], env);
    console.log(describe("doctor", count, doctor));
    if (env.MONGODB_URI) await drop(env.MONGODB_URI);
    peaks.import.push(imported.peakMib);
    peaks.doctor.push(doctor.peakMib);
  }
  for (const [command, [few, many]] of Object.entries(peaks)) {
    const growth = (many - few).toFixed(0);
    console.log(`${store}, ${command}: ten times the users take ${growth} MiB more`);
  }
}

/** The connection string of a server, and a function that stops it; undefined if there is no server. */
async function startMongo() {
  const given = process.env.MONGODB_URI;
  if (given) {
    const server = /^[^/]+\/\/[^/?]+/.exec(given)?.[0] ?? "";
    const options = /\?.*$/.exec(given)?.[0] ?? "";
    const uriOf = (database) => `${server}/latchkey_bench_${process.pid}_${database}${options}`;
    return { uriOf, stop: () => undefined };
  }
  const secantusd = join(root, ".cache/secantusdb-0.7.0b3/bin/secantusd-py");
  if (!existsSync(secantusd)) return undefined;
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  const data = join(folder, "mongo");
  const args = ["--port", port, "--storage-path", data, "--log-level", "ERROR"].map(String);
  const server = spawn(secantusd, args, { stdio: "ignore" });
  return {
    uriOf: (database) => `mongodb://127.0.0.1:${port}/${database}`,
    stop: () => server.kill("SIGKILL"),
  };
}

const mongo = await startMongo();
try {
  await measure("embedded", (count) => ({ DATA_DIR: join(folder, `data${count}`) }));
  if (mongo === undefined) console.log("no MongoDB: set MONGODB_URI, or run npm test once");
  else {
    await measure(
      "mongodb",
      (count) => ({ MONGODB_URI: mongo.uriOf(`import${count}`) }),
      ({ MONGODB_URI }) => rawInsert(MONGODB_URI),
    );
  }
} finally {
  mongo?.stop();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
