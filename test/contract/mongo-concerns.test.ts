/**
 * What the store asks of a replica set, read from the commands that it sends: writes wait for a majority,
 * reads go to the primary, whatever the URI says.
 */
import { afterAll, beforeAll, expect, jest, test } from "@jest/globals";
import { MongoClient, type CommandStartedEvent } from "mongodb";
import { parseConfig } from "../../src/config/config.js";
import { openStore } from "../../src/store/open-store.js";
import type { Store } from "../../src/store/store.js";
import { startTestMongo, type TestMongo } from "../support/mongo.js";
import { newUser } from "../support/users.js";

const writes = new Set(["insert", "update", "delete", "findAndModify", "createIndexes"]);
const reads = new Set(["find", "aggregate", "count", "distinct", "listIndexes"]);
/** About the server itself, and what ends or goes on with a cursor where it is. */
const others = new Set([
  "hello",
  "ismaster",
  "ping",
  "getMore",
  "killCursors",
  "endSessions",
  "buildInfo",
  "connectionStatus",
]);

let mongo: TestMongo | undefined;
let store: Store;
/** The driver tells its client of each command. */
const emitted = jest.spyOn(MongoClient.prototype, "emit");
beforeAll(async () => {
  mongo = await startTestMongo();
  if (mongo === undefined) throw new Error("this test needs MongoDB");
  const uri = `${mongo.newDatabase()}?w=1&readPreference=secondaryPreferred&monitorCommands=true`;
  store = await openStore(parseConfig({ MONGODB_URI: uri, REVOCATIONS: "on" }));
});
afterAll(async () => {
  await store.close();
  jest.restoreAllMocks();
  await mongo?.dispose();
});

async function drain(items: AsyncIterable<unknown>): Promise<void> {
  for await (const item of items) expect(item).toBeDefined();
}

/** Every write and every read that a store has, once. */
async function useAll(): Promise<void> {
  const { users, keys, throttle, audit, revocations, takeover } = store;
  const user = newUser();
  await users.add(user);
  const replaced = { onConflict: "replace", replacedAt: new Date(), dryRun: false } as const;
  await users.import([{ ...user, roles: ["a"] }], replaced);
  await users.findByUsername(user.username);
  await users.findBySubject("1");
  await users.sampleHashes(5);
  await users.update(user.id, { disabled: true });
  await users.replacePasswordHash(user.id, user.passwordHash ?? "", user.passwordHash ?? "");
  await drain(users.list());
  await users.remove(user.id);
  await keys.save("{}", 0);
  await keys.save("{ }", 1);
  await keys.load();
  const document = { document: "{}", expiresAtMs: Date.now() + 60_000, isDisposable: true };
  const version = await throttle.write("a", undefined, document);
  await throttle.write("a", version, document);
  await throttle.read(["a", "b"]);
  await drain(throttle.list());
  const by = { user: "root", host: "here" };
  await audit.settle(await audit.add({ action: "user_added", by, atMs: Date.now() }), "done");
  await drain(audit.list(0));
  await revocations.add({ subject: "1", atMs: Date.now() }, Date.now() + 60_000);
  await revocations.version();
  await revocations.list(Date.now(), 10);
  await takeover.setLead({ percent: 1, variable: 0 });
  await takeover.lead();
  await takeover.findByName("ann");
  await takeover.count();
  await takeover.forgetAll();
  await store.secret();
  await store.warnings();
  await store.ping();
  await drain(store.inspect({ fix: false, now: Date.now }));
}

test("writes wait for a majority, and reads go to the primary", async () => {
  await useAll();
  const sent = (emitted.mock.calls as unknown[][])
    .filter(([event]) => event === "commandStarted")
    .map(([, event]) => event as CommandStartedEvent);
  const known = sent.filter(({ commandName }) => !others.has(commandName));
  const names = new Set(known.map(({ commandName }) => commandName));
  expect([...names].filter((name) => !writes.has(name) && !reads.has(name))).toEqual([]);
  expect([...names]).toEqual(
    expect.arrayContaining(["insert", "update", "delete", "createIndexes", "find", "aggregate"]),
  );
  const concernOf = ({ commandName, command }: CommandStartedEvent) =>
    [commandName, (command["writeConcern"] as { w?: unknown } | undefined)?.w] as const;
  const hasConcern = ({ commandName }: CommandStartedEvent) => writes.has(commandName);
  expect(known.filter(hasConcern).map(concernOf)).toEqual(
    known.filter(hasConcern).map(({ commandName }) => [commandName, "majority"]),
  );
  // Absent, it is the primary.
  const preferences = known
    .filter(({ commandName }) => reads.has(commandName))
    .map(({ command }) => command["$readPreference"] as { mode?: string } | undefined);
  expect(preferences.filter((preference) => (preference?.mode ?? "primary") !== "primary")).toEqual(
    [],
  );
});
