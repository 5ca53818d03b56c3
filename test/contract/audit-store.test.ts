/** What every store promises of the record of administration. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import type { AuditEntry, StoredAuditEntry } from "../../src/auth/audit.js";
import { openEmbeddedStore } from "../../src/store/embedded/embedded-store.js";
import { openMongoStore } from "../../src/store/mongo/mongo-store.js";
import type { Store } from "../../src/store/store.js";
import { startTestMongo, type TestMongo } from "../support/mongo.js";

const entriesMax = 300;
const startMs = Date.parse("2026-01-01T00:00:00Z");
const entryAt = (seconds: number): AuditEntry => ({
  action: "user_added",
  target: `user-${seconds}`,
  by: { user: "ann", host: "ops" },
  atMs: startMs + seconds * 1000,
});

let mongo: TestMongo | undefined;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "latchkey-"));
  mongo = await startTestMongo();
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await mongo?.dispose();
});

const fields = {
  username: "username",
  password: "passwordHash",
  disabled: "disabled",
  roles: "roles",
  tokensValidAfter: "tokensValidAfter",
};
const openers: Record<string, () => Promise<Store>> = {
  embedded: () =>
    openEmbeddedStore({ dataDir: mkdtempSync(join(folder, "data-")), auditEntriesMax: entriesMax }),
  MongoDB: () => {
    if (mongo === undefined) throw new Error("these tests need MongoDB");
    const uri = mongo.newDatabase();
    const options = { uri, usersCollection: "users", fields, auditEntriesMax: entriesMax };
    return Promise.resolve(openMongoStore({ ...options, deadlineMs: 20_000 }));
  },
};

describe.each(Object.keys(openers))("%s", (name) => {
  let store: Store;
  beforeEach(async () => {
    store = await (openers[name]?.() ?? Promise.reject(new Error(name)));
  });
  afterEach(() => store.close());

  async function entriesSince(sinceMs = 0): Promise<StoredAuditEntry[]> {
    const entries: StoredAuditEntry[] = [];
    for await (const entry of store.audit.list(sinceMs)) entries.push(entry);
    return entries;
  }

  test("an entry is there before it is settled, and whole", async () => {
    const entry = { ...entryAt(1), details: { roles: ["admin"] } };
    const id = await store.audit.add(entry);
    expect(await entriesSince()).toEqual([{ ...entry, id, outcome: "unknown" }]);
    await store.audit.settle(id, "done", { replaced: 2 });
    const details = { roles: ["admin"], replaced: 2 };
    expect(await entriesSince()).toEqual([{ ...entry, id, outcome: "done", details }]);
  });

  test("details may come with the settlement alone, or not at all", async () => {
    const ids = [await store.audit.add(entryAt(1)), await store.audit.add(entryAt(2))];
    await store.audit.settle(ids[0] ?? "", "done", { added: 3 });
    await store.audit.settle(ids[1] ?? "", "nothing");
    expect(await entriesSince()).toMatchObject([
      { outcome: "done", details: { added: 3 } },
      { outcome: "nothing" },
    ]);
  });

  test("they come oldest first, from a time on", async () => {
    for (const seconds of [3, 1, 2]) await store.audit.add(entryAt(seconds));
    const targets = async (sinceMs?: number) =>
      (await entriesSince(sinceMs)).map(({ target }) => target);
    expect(await targets()).toEqual(["user-1", "user-2", "user-3"]);
    expect(await targets(startMs + 2000)).toEqual(["user-2", "user-3"]);
    expect(await targets(startMs + 2001)).toEqual(["user-3"]);
  });

  test("the oldest of too many go, and what is settled then is no fault", async () => {
    const first = await store.audit.add(entryAt(0));
    for (let i = 1; i <= entriesMax + 5; i++) await store.audit.add(entryAt(i));
    await store.audit.settle(first, "done");
    const entries = await entriesSince();
    expect(entries).toHaveLength(entriesMax);
    expect(entries[0]?.target).toBe("user-6");
  });

  test("entries of one millisecond are all kept", async () => {
    await Promise.all(Array.from({ length: 20 }, () => store.audit.add(entryAt(1))));
    expect(new Set((await entriesSince()).map(({ id }) => id)).size).toBe(20);
  });
});
