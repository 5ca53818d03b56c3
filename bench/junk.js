/**
 * `npm run bench:junk [count]`: failed logins of that many unknown usernames, by default 100,000, each from a network
 * of its own. Prints how many documents are kept of them, and how fast the throttle answers before and after. Fails if
 * more documents are kept than the store's limit. Uses MongoDB if `MONGODB_URI` is set.
 */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createConfiguredThrottle } from "../dist/src/throttling.js";
import { parseConfig } from "../dist/src/config.js";
import { openEmbeddedStore } from "../dist/src/store/embedded.js";
import { openMongoStore } from "../dist/src/store/mongo.js";

const count = Number(process.argv[2] ?? 100_000);
/** A limit for usernames and networks together, so that half of the documents must be removed. */
const throttleDocumentsMax = count;
const atOnce = 500;
const lookups = 2000;

const dataDir = mkdtempSync(join(tmpdir(), "latchkey-junk-"));
const config = parseConfig({ ...process.env, DATA_DIR: dataDir });
const store = config.MONGODB_URI
  ? openMongoStore({
      uri: config.MONGODB_URI,
      usersCollection: "users",
      fields: {
        username: "username",
        password: "passwordHash",
        disabled: "disabled",
        roles: "roles",
        tokensValidAfter: "tokensValidAfter",
      },
      deadlineMs: 30_000,
      throttleDocumentsMax,
    })
  : await openEmbeddedStore({ dataDir, throttleDocumentsMax });
const throttle = createConfiguredThrottle(config, store, { now: Date.now });

async function attempt(username, network, outcome) {
  const permit = await throttle.admit(username, network, new AbortController().signal);
  await permit.settle(outcome);
}

/** Logins from a known network, in lookups a second, the median of rounds. */
async function lookupsPerSecond() {
  const rounds = [];
  for (let round = 0; round < 5; round++) {
    const start = performance.now();
    for (let i = 0; i < lookups / 5; i++) await attempt("ann", "192.0.2.1", "right");
    rounds.push((1000 * lookups) / 5 / (performance.now() - start));
  }
  return rounds.sort((a, b) => a - b)[2];
}

async function countDocuments() {
  let documents = 0;
  for await (const { key } of store.throttle.list()) documents += Number(key.includes(":"));
  return documents;
}

try {
  await throttle.open();
  await attempt("ann", "192.0.2.1", "right");
  await lookupsPerSecond();
  const before = await lookupsPerSecond();
  const start = performance.now();
  for (let i = 0; i < count; i += atOnce) {
    await Promise.all(
      Array.from({ length: Math.min(atOnce, count - i) }, (_, j) =>
        attempt(`junk${i + j}`, `junk-network${i + j}`, "wrong"),
      ),
    );
  }
  const seconds = (performance.now() - start) / 1000;
  const after = await lookupsPerSecond();
  const documents = await countDocuments();
  const bound = throttleDocumentsMax + Math.max(1000, atOnce * 4);
  console.log(`${count} junk usernames in ${seconds.toFixed(0)} s, as many networks`);
  console.log(`kept: ${documents} documents, bound ${throttleDocumentsMax}`);
  if (!config.MONGODB_URI) {
    const mebibytes = statSync(join(dataDir, "latchkey.mdb")).size / 2 ** 20;
    console.log(`file: ${mebibytes.toFixed(0)} MiB`);
  }
  console.log(
    `lookups: ${before.toFixed(0)}/s before, ${after.toFixed(0)}/s after, ratio ${(after / before).toFixed(2)}`,
  );
  if (documents > bound) process.exitCode = 1;
} finally {
  await throttle.close();
  await store.close();
  rmSync(dataDir, { recursive: true });
}
