/** What is said of a write is what is stored, whatever MongoDB answers. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { MongoClient, type Db, type Document } from "mongodb";
import { UnfinishedImport } from "../../src/auth/users.js";
import { openMongoStore } from "../../src/store/mongo/mongo-store.js";
import type { Store } from "../../src/store/store.js";
import { commandName, startMongoProxy } from "../support/mongo-proxy.js";
import { startMongoServer, type MongoServer } from "../support/mongo.js";
import { newUser } from "../support/users.js";

const fields = {
  username: "username",
  password: "passwordHash",
  disabled: "disabled",
  roles: "roles",
  tokensValidAfter: "tokensValidAfter",
};
let server: MongoServer | undefined;
let client: MongoClient;
let db: Db;
let store: Store;
let databases = 0;
beforeAll(async () => {
  server = await startMongoServer();
  if (server === undefined) throw new Error("these tests need MongoDB");
});
afterAll(() => server?.dispose());
beforeEach(() => {
  const uri = server?.uri(`proven_${databases++}`) ?? "";
  client = new MongoClient(uri);
  db = client.db();
  store = openMongoStore({ uri, usersCollection: "users", fields, deadlineMs: 20_000 });
});
afterEach(async () => {
  await failing("off", {});
  await store.close();
  await client.close();
});

const failing = (mode: unknown, data: object) =>
  client.db("admin").command({ configureFailPoint: "failCommand", mode, data });

const faults: [string, object][] = [
  ...[13, 50, 91, 189, 301, 8000, 10_107, 11_600, 16_500].map((errorCode): [string, object] => [
    `code ${errorCode}`,
    { errorCode },
  ]),
  ["a write concern that is not met", { writeConcernError: { code: 64, errmsg: "timed out" } }],
  ["a dropped connection", { closeConnection: true }],
];
const table = faults.flatMap(([name, data]) =>
  (["once", "always"] as const).map((often) => [name, often, data] as const),
);
const modeOf = (often: "once" | "always") => (often === "once" ? { times: 1 } : "alwaysOn");

describe("a failed command, a lost answer", () => {
  test.each(table)("%s, %s: a user is added exactly if it is said", async (_, often, data) => {
    await store.users.add(newUser({ id: { type: "int", value: "1" }, username: "first" }));
    await failing(modeOf(often), { failCommands: ["insert"], ...data });
    const outcome = await store.users.add(newUser()).catch((error: unknown) => error);
    await failing("off", {});
    const stored = await db.collection("users").countDocuments({ username: "alice" });
    if (outcome === "added") expect(stored).toBe(1);
    else expect(outcome).toMatchObject({ code: "store_unavailable" });
    if (stored === 1)
      expect(["added", "unconfirmed"]).toContain(
        outcome === "added" ? outcome : unconfirmed(outcome),
      );
  });

  test.each(table)("%s, %s: an import counts what is stored", async (_, often, data) => {
    await store.users.add(newUser({ id: { type: "int", value: "0" }, username: "first" }));
    await failing(modeOf(often), { failCommands: ["insert"], ...data });
    const users = Array.from({ length: 20 }, (_, i) =>
      newUser({ id: { type: "int", value: String(i + 1) }, username: `user${i}` }),
    );
    const options = { onConflict: "fail", replacedAt: new Date(), dryRun: false } as const;
    const outcomes = await store.users.import(users, options).catch((error: unknown) => {
      if (error instanceof UnfinishedImport) return error.outcomes;
      throw error;
    });
    await failing("off", {});
    const stored = await db.collection("users").countDocuments({ username: { $ne: "first" } });
    expect(outcomes.filter((outcome) => outcome === "added")).toHaveLength(stored);
  });

  test.each(table)("%s, %s: a key ring is saved exactly if it is said", async (_, often, data) => {
    await store.keys.save("one", 0);
    await failing(modeOf(often), { failCommands: ["update"], ...data });
    const saved = await store.keys.save("two", 1).catch(() => undefined);
    await failing("off", {});
    const { document } = await store.keys.load();
    if (saved !== undefined) expect(document).toBe(saved ? "two" : "one");
  });
});

function unconfirmed(error: unknown): string {
  return /has not confirmed/.test((error as Error).message) ? "unconfirmed" : String(error);
}

test("a list is whole where it is the first thing that is asked", async () => {
  await db.collection("users").insertMany([{ username: "ann" }, { username: "bob" }]);
  const names: string[] = [];
  for await (const { username } of store.users.list()) names.push(username);
  expect(names.sort()).toEqual(["ann", "bob"]);
});

test("a rule of the collection's own keeps out one user, by name, and no other", async () => {
  await db.collection("users").createIndex({ email: 1 }, { unique: true }, undefined);
  const users = ["ann", "bob"].map((username, i) =>
    newUser({ id: { type: "int", value: String(i) }, username }),
  );
  const options = { onConflict: "skip", replacedAt: new Date(), dryRun: false } as const;
  expect(await store.users.import(users, options)).toEqual([
    "added",
    { refused: expect.stringContaining("email_1") },
  ]);
});

async function drained(items: AsyncIterable<unknown>): Promise<void> {
  const iterator = items[Symbol.asyncIterator]();
  while (!(await iterator.next()).done);
}

const writes = ["insert", "update", "delete", "findAndModify", "createIndexes"];
const reads = ["find", "aggregate", "getMore", "listIndexes", "count"];

test("every write asks for a majority, every read the primary, whatever the URI says", async () => {
  const proxy = await startMongoProxy(server?.uri("watched") ?? "");
  const commands: Document[] = [];
  proxy.onCommand = (command) => {
    commands.push(command);
    return "given";
  };
  const watched = openMongoStore({
    uri: proxy.uri("watched", "&w=1&readPreference=secondary&retryWrites=true"),
    usersCollection: "users",
    fields,
    deadlineMs: 20_000,
  });
  const id = { type: "int", value: "7" } as const;
  const { users, keys, throttle, audit, revocations } = watched;
  const document = { document: "{}", expiresAtMs: Date.now() + 60_000, isDisposable: true };
  await users.add(newUser());
  await users.import([newUser({ roles: ["a"] })], {
    ...{ onConflict: "replace", replacedAt: new Date(), dryRun: false },
  });
  await users.update(id, { disabled: true });
  await users.replacePasswordHash(id, newUser().passwordHash ?? "", "other");
  await users.findByUsername("alice");
  await users.findBySubject("7");
  await users.existing([id]);
  await users.sampleHashes(2);
  await drained(users.list());
  await users.remove(id);
  await keys.save("{}", 0);
  await keys.save("{}", 1);
  await keys.load();
  const version = await throttle.write("key", undefined, document);
  await throttle.write("key", version, document);
  await throttle.read(["key"]);
  await drained(throttle.list());
  const entry = { action: "user_added", by: { user: "ann", host: "ops" }, atMs: Date.now() };
  await audit.settle(await audit.add(entry), "done");
  await drained(audit.list(0));
  await revocations.add({ subject: "7", atMs: Date.now() }, Date.now() + 60_000);
  await revocations.list(Date.now(), 10);
  await watched.secret();
  await watched.warnings();
  await drained(watched.inspect({ fix: true, now: Date.now }));
  await watched.close();
  proxy.close();
  const sent = commands.filter((command) => command["$db"] === "watched");
  const names = sent.map(commandName);
  expect(names.filter((name) => ![...writes, ...reads, ...others].includes(name))).toEqual([]);
  expect(names).toEqual(
    expect.arrayContaining(["insert", "update", "delete", "find", "aggregate"]),
  );
  for (const command of sent) {
    expect([commandName(command), command["txnNumber"]]).toEqual([commandName(command), undefined]);
    if (writes.includes(commandName(command))) {
      expect(command).toMatchObject({ writeConcern: { w: "majority" } });
    } else {
      const { mode = "primary" } = (command["$readPreference"] ?? {}) as { mode?: string };
      // To a single server the driver writes primaryPreferred, since it may be none.
      expect([commandName(command), ["primary", "primaryPreferred"]]).toEqual([
        commandName(command),
        expect.arrayContaining([mode]),
      ]);
    }
  }
});

/** What is neither a read nor a write of documents. */
const others = ["hello", "buildInfo", "connectionStatus", "explain"];

test("a lost answer is made up for by one more attempt", async () => {
  await store.users.add(newUser());
  await failing({ times: 1 }, { failCommands: ["insert"], closeConnection: true });
  expect(await store.users.add(newUser({ id: { type: "int", value: "8" }, username: "bob" }))).toBe(
    "added",
  );
});
