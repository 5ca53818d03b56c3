import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { MongoClient } from "mongodb";
import type { Store } from "../../src/store/store.js";
import { Throttle } from "../../src/auth/throttle/throttle.js";
import { openMongoStore } from "../../src/store/mongo/mongo-store.js";
import { MongoThrottle, type StoredThrottleDocument } from "../../src/store/mongo/throttle.js";
import { startTestMongo, type TestMongo } from "../support/mongo.js";
import {
  runThrottleContract,
  runThrottleStoreContract,
  type ThrottleStorePlace,
} from "./throttle-store.js";

let mongo: TestMongo | undefined;
beforeAll(async () => {
  mongo = await startTestMongo();
});
afterAll(() => mongo?.dispose());

function openAt(uri: string, throttleDocumentsMax?: number): Store {
  return openMongoStore({
    uri,
    usersCollection: "users",
    fields: {
      username: "username",
      password: "passwordHash",
      disabled: "disabled",
      roles: "roles",
      tokensValidAfter: "tokensValidAfter",
    },
    deadlineMs: 20_000,
    ...(throttleDocumentsMax !== undefined && { throttleDocumentsMax }),
  });
}

function newUri(): string {
  if (mongo === undefined) throw new Error("no MongoDB");
  return mongo.newDatabase();
}

function newPlace(): Promise<ThrottleStorePlace> {
  const uri = newUri();
  return Promise.resolve({
    open: () => Promise.resolve(openAt(uri)),
    dispose: () => Promise.resolve(),
  });
}

runThrottleStoreContract("MongoDB", newPlace);
runThrottleContract("MongoDB", newPlace);

describe("the throttle's collection", () => {
  test("expires by an index, and holds no more disposable documents than it may", async () => {
    const uri = newUri();
    const store = openAt(uri, 100);
    const client = new MongoClient(uri);
    const soonMs = Date.now() + 3_600_000;
    for (let i = 0; i < 350; i++) {
      const isDisposable = i >= 20;
      const document = { document: "{}", expiresAtMs: soonMs + i, isDisposable };
      await store.throttle.write(`k${i}`, undefined, document);
    }
    const collection = client.db().collection<{ _id: string }>("latchkey_throttle");
    for (let i = 0; i < 100 && (await collection.countDocuments()) > 220; i++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(await collection.countDocuments({ isDisposable: true })).toBeLessThanOrEqual(200);
    expect(await collection.countDocuments({ isDisposable: false })).toBe(20);
    expect(await collection.findOne({ _id: "k349" })).not.toBeNull();
    expect(await collection.indexes()).toContainEqual(
      expect.objectContaining({ key: { expiresAt: 1 }, expireAfterSeconds: 0 }),
    );
    await client.close();
    await store.close();
  });
});

test.each([1, 2, 10])(
  "with a limit of %i, logins from a known network are finds and nothing else",
  async (failures) => {
    const client = new MongoClient(newUri(), { monitorCommands: true });
    const collection = client.db().collection<StoredThrottleDocument>("latchkey_throttle");
    const throttle = new Throttle({
      store: new MongoThrottle(
        collection,
        { call: (work) => work(), write: (work) => work() },
        () => Date.now(),
      ),
      secret: () => Promise.resolve(Buffer.alloc(32, 1)),
      limits: { failures, userFailures: 100, networkFailures: 100, windowSeconds: 900 },
      isExempt: () => false,
      usernameKey: (username) => username,
      clock: { now: () => Date.now() },
    });
    const account = Promise.resolve({ type: "string", value: "alice" } as const);
    const login = async () => {
      const permit = await throttle.admit(
        "alice",
        "192.0.2.1",
        account,
        new AbortController().signal,
      );
      await permit.settle("right");
    };
    await throttle.open();
    await login();
    // The first write makes the indexes, beside what it was for.
    for (let i = 0; i < 100 && (await collection.indexes()).length < 3; i++)
      await new Promise((resolve) => setTimeout(resolve, 50));
    const commands: Record<string, number> = {};
    client.on("commandStarted", ({ commandName, command }) => {
      // A process renews its seat every 20 s.
      if (JSON.stringify(command).includes('"seats"')) return;
      commands[commandName] = (commands[commandName] ?? 0) + 1;
    });
    for (const atOnce of [1, 10, 100]) await Promise.all(Array.from({ length: atOnce }, login));
    expect(commands).toEqual({ find: 111 });
    await throttle.close();
    await client.close();
  },
);

test("a replica whose clock is hours off is told the time of the primary", async () => {
  const rightNow = Date.now.bind(Date);
  const wrong = jest.spyOn(Date, "now").mockImplementation(() => rightNow() - 6 * 3_600_000);
  try {
    const store = openAt(newUri());
    await store.ping();
    expect(Math.abs(store.throttle.now() - rightNow())).toBeLessThan(60_000);
    await store.close();
  } finally {
    wrong.mockRestore();
  }
});
