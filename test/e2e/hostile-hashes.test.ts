/** Stored hashes that were made to do harm, in a service that runs: its time and its memory. */
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { parseConfig } from "../../src/config.js";
import { openStore } from "../../src/store/index.js";
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

/** The least of some tries, for a machine that has other things to do. */
async function fastest(client: HttpClient, username: string, tries: number): Promise<number> {
  const times = [];
  for (let i = 0; i < tries; i++) times.push(await fail(client, username));
  return Math.min(...times);
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
    const ordinary: number[] = [];
    for (let i = 0; i < 15; i++) ordinary.push(await fail(client, "ordinary"));
    const median = ordinary.sort((a, b) => a - b)[7] ?? 0;
    const grown = await growthBytes(async () => {
      for (const [name] of hostile.map(named)) {
        const time = await fastest(client, name, 3);
        expect([name, time < median + 50]).toEqual([name, true]);
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
    const yardstick = await fastest(client, "bcrypt", 2);
    for (const name of Object.keys(atCeiling)) {
      let time = 0;
      const grown = await growthBytes(async () => (time = await fastest(client, name, 2)));
      // docs/hash-families.md says that none takes much longer than bcrypt of cost 14.
      expect([name, time < 3 * yardstick, grown < 160 * mib]).toEqual([name, true, true]);
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
