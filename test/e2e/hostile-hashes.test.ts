/** Stored hashes that were made to do harm, in a service that runs: its time and its memory. */
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { parseConfig } from "../../src/config/config.js";
import { openStore } from "../../src/store/open-store.js";
import { atCeiling, ordinaryHash, overCeiling, unusable } from "../support/hostile-hashes.js";
import { basic, createHttpClient, type HttpClient } from "../support/http.js";
import { eventually, startServerProcess, type ServerProcess } from "../support/server-process.js";
import { newUser } from "../support/users.js";

const mib = 2 ** 20;
const onLinux = process.platform === "linux" ? test : test.skip;

let dataDir: string;
let server: ServerProcess;
let clients: HttpClient[];
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "latchkey-hostile-"));
  clients = [];
});
afterEach(async () => {
  for (const client of clients) client.close();
  await server.stop();
  await rm(dataDir, { recursive: true });
});

/** A service whose users are named by what they have for a hash; it runs two of them at once. */
async function serve(hashes: readonly (readonly [name: string, hash: string])[]): Promise<void> {
  const store = await openStore(parseConfig({ DATA_DIR: dataDir }));
  for (const [i, [username, passwordHash]] of hashes.entries()) {
    const id = { type: "int", value: String(i) } as const;
    await store.users.add(newUser({ id, username, passwordHash }));
  }
  await store.close();
  server = await startServerProcess({
    ...{ DATA_DIR: dataDir, THROTTLE_FAILURES: "0", HASH_CONCURRENCY: "2", AUDIT_LOG: "off" },
  });
}

const newClient = () => {
  const client = createHttpClient(server.url);
  clients.push(client);
  return client;
};

/** A failed login's time in ms. */
async function fail(client: HttpClient, username: string): Promise<number> {
  const start = performance.now();
  const authorization = basic(username, "password");
  const { status } = await client.call("/api/auth/token", { headers: { authorization } });
  expect([username, status]).toEqual([username, 403]);
  return performance.now() - start;
}

/** Whether one of a few tries is as soon as asked, held against another user's beside it: machines are busy. */
async function isInTime(
  client: HttpClient,
  username: string,
  beside: string,
  limitMs: (besideMs: number) => number,
): Promise<boolean> {
  for (let i = 0; i < 10; i++) {
    const limit = limitMs(await fail(client, beside));
    if ((await fail(client, username)) < limit) return true;
  }
  return false;
}

function memoryBytes(): number {
  const status = readFileSync(`/proc/${server.child.pid ?? 0}/status`, "utf8");
  return 1024 * Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1]);
}

/** How far the memory rises over what it is now while something is done. */
async function growthBytes(work: () => Promise<unknown>): Promise<number> {
  const before = memoryBytes();
  let peak = before;
  const sampler = setInterval(() => (peak = Math.max(peak, memoryBytes())), 2);
  await work().finally(() => clearInterval(sampler));
  return peak - before;
}

onLinux(
  "what is past a ceiling or broken is refused in ordinary time and memory",
  async () => {
    const hostile = [...overCeiling, ...unusable];
    await serve([["ordinary", ordinaryHash], ...hostile.map(named)]);
    const client = newClient();
    for (let i = 0; i < 50; i++) await fail(client, "ordinary");
    const grown = await growthBytes(async () => {
      for (const [name] of hostile.map(named)) {
        const isOrdinary = await isInTime(client, name, "ordinary", (ms) => ms + 50);
        expect([name, isOrdinary]).toEqual([name, true]);
      }
    });
    expect(grown).toBeLessThan(64 * mib);
  },
  60_000,
);

const named = (hash: string, i: number) => [`${i} ${hash.slice(0, 20)}`, hash] as const;

onLinux(
  "what is at a ceiling takes no more than is documented, and gives it back",
  async () => {
    await serve(Object.entries(atCeiling));
    const client = newClient();
    for (const name of Object.keys(atCeiling)) {
      let isBounded = false;
      const grown = await growthBytes(async () => {
        // As docs/hash-families.md says.
        isBounded = await isInTime(client, name, "bcrypt", (ms) => 2 * ms);
      });
      expect([name, isBounded, grown < 160 * mib]).toEqual([name, true, true]);
    }
    await sleep(500);
    const before = memoryBytes();
    const grown = await growthBytes(() =>
      Promise.all(Array.from({ length: 8 }, () => fail(newClient(), "argon2id"))),
    );
    expect(grown).toBeGreaterThan(128 * mib);
    expect(grown).toBeLessThan(2 * 128 * mib + 48 * mib);
    await eventually(
      () => Promise.resolve(memoryBytes()),
      (bytes) => bytes < before + 32 * mib,
    );
  },
  120_000,
);
