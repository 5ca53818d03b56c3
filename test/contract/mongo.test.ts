import { once } from "node:events";
import { connect, createServer, type AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { Binary, Decimal128, Double, Int32, Long, MongoClient, UUID, Timestamp } from "mongodb";
import type { Collection, Document } from "mongodb";
import type { User, UserStore } from "../../src/auth/users.js";
import type { Store } from "../../src/store/store.js";
import { openMongoStore } from "../../src/store/mongo/mongo-store.js";
import type { UserFields } from "../../src/store/mongo/document.js";
import { startMongoServer, startTestMongo } from "../support/mongo.js";
import type { MongoServer } from "../support/mongo.js";
import { newUser, seedUser } from "../support/users.js";
import { runKeyStoreContract, runUserStoreContract } from "./user-store.js";

const fields: UserFields = {
  username: "username",
  password: "passwordHash",
  disabled: "disabled",
  roles: "roles",
  tokensValidAfter: "tokensValidAfter",
};
const adoptedFields: UserFields = {
  username: "profile.login",
  password: "services.password.hash",
  disabled: "!profile.is_active",
  roles: "roles",
  tokensValidAfter: "services.password.changedAt",
};

const mongo = await startTestMongo();
afterAll(() => mongo?.dispose());
const describeMongo = mongo ? describe : describe.skip;
const newDatabase = () => mongo?.newDatabase() ?? "";

const opened: Store[] = [];
// A test that fails leaves its stores open, and they would keep the process alive.
afterEach(async () => {
  await Promise.all(opened.splice(0).map((store) => store.close()));
});

function openAt(uri: string, more: { fields?: UserFields; deadlineMs?: number } = {}): Store {
  // A deadline for a busy machine: what is tested here is not how soon.
  const store = openMongoStore({
    uri,
    usersCollection: "users",
    fields,
    deadlineMs: 20_000,
    ...more,
  });
  opened.push(store);
  return store;
}

/** A way to the server that counts the messages with that text in them. */
async function startCountingProxy(uri: string, text: string) {
  const url = new URL(uri);
  const port = Number(url.port);
  let count = 0;
  const proxy = createServer((client) => {
    const server = connect(port, url.hostname);
    client.on("data", (chunk) => (count += chunk.toString("latin1").split(text).length - 1));
    client.pipe(server).pipe(client);
    for (const socket of [client, server]) socket.on("error", () => socket.destroy());
  }).listen(0, "127.0.0.1");
  await once(proxy, "listening");
  url.port = String((proxy.address() as AddressInfo).port);
  // Else the driver goes on to where the server says that it is.
  url.search = "?directConnection=true";
  return { uri: url.href, count: () => count, close: () => proxy.close() };
}

describeMongo("with a server", () => {
  for (const [name, mapped] of [
    ["mongo", fields],
    ["mongo, adopted", adoptedFields],
  ] as const) {
    const newPlace = () => {
      const uri = newDatabase();
      return Promise.resolve({
        open: () => Promise.resolve(openAt(uri, { fields: mapped })),
        dispose: () => Promise.resolve(),
      });
    };
    runUserStoreContract(name, newPlace);
    runKeyStoreContract(name, newPlace);
  }
});

const collect = async (users: UserStore) => {
  const all: User[] = [];
  for await (const user of users.list()) all.push(user);
  return all;
};

describeMongo("mongo: adopted documents", () => {
  let uri = "";
  let client: MongoClient;
  let documents: Collection;
  let store: Store;
  const adopt = (options?: Parameters<typeof openAt>[1]) => (store = openAt(uri, options)).users;

  beforeEach(() => {
    uri = newDatabase();
    client = new MongoClient(uri);
    documents = client.db().collection("users");
  });
  afterEach(async () => {
    await store.close();
    await client.close();
  });

  const put = (document: Document) => documents.insertOne(document);

  const readable: [string, unknown, string][] = [
    ["32-bit", new Int32(5), "5"],
    ["64-bit", Long.fromNumber(5), "5"],
    ["floating-point", new Double(5), "5"],
    ["negative zero", new Double(-0), "0"],
    ["large 64-bit", Long.fromString("9007199254740993"), "9007199254740993"],
    [
      "UUID",
      new UUID("0190f5b2-7c1e-7a3b-9d4e-2f1a3b4c5d6e"),
      "0190f5b2-7c1e-7a3b-9d4e-2f1a3b4c5d6e",
    ],
  ];
  test.each(readable)("an _id that is a %s has its subject", async (_, id, subject) => {
    await put({ _id: id, username: "alice" });
    const users = adopt();
    const user = await users.findBySubject(subject);
    expect(user?.username).toBe("alice");
    expect(user?.id.value).toBe(subject);
    expect(await users.add(newUser({ ...(user && { id: user.id }), username: "bob" }))).toBe(
      "id_taken",
    );
    expect(user && (await users.update(user.id, { disabled: true }))).toBe(true);
    expect((await users.findByUsername("alice"))?.disabled).toBe(true);
    expect(user && (await users.remove(user.id))).toBe(true);
  });

  const unreadable: [string, unknown][] = [
    ["fraction", 1.5],
    ["number too large", 2 ** 60],
    ["decimal", Decimal128.fromString("1")],
    ["boolean", true],
    ["date", new Date(0)],
    ["document", { a: 1 }],
    ["empty string", ""],
    ["UUID of the old kind", new Binary(Buffer.alloc(16, 7), 3)],
    ["UUID cut off", new Binary(Buffer.alloc(15, 7), Binary.SUBTYPE_UUID)],
  ];
  test.each(unreadable)("an _id that is a %s is nobody's", async (_, id) => {
    await put({ _id: id, username: "alice" });
    await put({ _id: 2, username: "bob" });
    const users = adopt();
    expect(await users.findByUsername("alice")).toBeUndefined();
    for (const subject of ["1", "1.5", String(2 ** 60), "true", "0", ""]) {
      expect(await users.findBySubject(subject)).toBeUndefined();
    }
    expect((await collect(users)).map(({ username }) => username)).toEqual(["bob"]);
    expect(await users.add(newUser())).toBe("username_taken");
  });

  test("subjects that are asked for in one turn of the event loop are one question", async () => {
    await put({ _id: 1, username: "alice" });
    await put({ _id: 2, username: "bob" });
    await put({ _id: "2", username: "bob too" });
    await put({ _id: "carol", username: "carol" });
    const questions = await startCountingProxy(uri, "\x04$in\0");
    const { users } = (store = openAt(questions.uri));
    await users.findBySubject("1");
    const before = questions.count();
    const asked = ["1", "2", "carol", "nobody", "1"];
    const found = await Promise.all(asked.map((subject) => users.findBySubject(subject)));
    expect(found.map((account) => account?.username)).toEqual([
      ...["alice", undefined, "carol", undefined, "alice"],
    ]);
    expect(questions.count() - before).toBe(1);
    await users.update({ type: "int", value: "1" }, { disabled: true });
    expect((await users.findBySubject("1"))?.disabled).toBe(true);
    questions.close();
  });

  test("an _id that only MongoDB finds equal is taken", async () => {
    await put({ _id: Decimal128.fromString("7"), username: "eve" });
    expect(await adopt().add(newUser())).toBe("id_taken");
  });

  test.each([[7], [null], [["alice"]], [{ alice: 1 }]])(
    "the username %j is nobody's",
    async (username) => {
      await put({ _id: 1, username });
      await put({ _id: 2 });
      const users = adopt();
      expect(await users.findByUsername("alice")).toBeUndefined();
      expect(await users.findBySubject("1")).toBeUndefined();
      expect(await users.findBySubject("2")).toBeUndefined();
      expect(await users.update({ type: "int", value: "2" }, { disabled: true })).toBe(false);
      expect(await users.remove({ type: "int", value: "2" })).toBe(false);
      expect(await collect(users)).toEqual([]);
    },
  );

  test("two documents of one username are both refused", async () => {
    await put({ _id: 1, username: "alice" });
    await put({ _id: 2, username: "alice" });
    const users = adopt();
    expect(await users.findByUsername("alice")).toBeUndefined();
    expect((await users.findBySubject("1"))?.username).toBe("alice");
    expect(await users.add(newUser())).toBe("username_taken");
  });

  const flags: [unknown, boolean, boolean][] = [
    [undefined, false, true],
    [null, false, true],
    [false, false, true],
    [0, false, true],
    [true, true, false],
    [1, true, false],
    [2, true, true],
    ["", true, true],
    ["false", true, true],
    ["true", true, true],
    [new Date(0), true, true],
    [{}, true, true],
  ];
  test.each(flags)(
    "the flag %j: disabled %j, where it means enabled %j",
    async (flag, disabled, inverted) => {
      await put({ _id: 1, username: "alice", flag });
      expect(
        (await adopt({ fields: { ...fields, disabled: "flag" } }).findBySubject("1"))?.disabled,
      ).toBe(disabled);
      await store.close();
      expect(
        (await adopt({ fields: { ...fields, disabled: "!flag" } }).findBySubject("1"))?.disabled,
      ).toBe(inverted);
    },
  );

  const never = new Date(8.64e15);
  const instants: [unknown, Date | undefined][] = [
    [undefined, undefined],
    [null, undefined],
    [new Date(1.7e12), new Date(1.7e12)],
    [1.7e12, new Date(1.7e12)],
    [Long.fromNumber(1.7e12), new Date(1.7e12)],
    [0, new Date(0)],
    ["2025-04-22T16:28:55.000Z", new Date("2025-04-22T16:28:55.000Z")],
    ["2025-04-22T18:28:55+02:00", new Date("2025-04-22T16:28:55.000Z")],
    ["2025-04-22T16:28:55", new Date("2025-04-22T16:28:55.000Z")],
    ["2025-04-22 16:28:55.5+0200", new Date("2025-04-22T14:28:55.500Z")],
    [new Timestamp({ t: 1_700_000_000, i: 1 }), new Date(1.7e12)],
    ["2025-99-22T16:28:55Z", never],
    ["1", never],
    ["", never],
    [1.7e9, new Date(1.7e12)],
    [1.7e6, never],
    [-1, never],
    [Number.NaN, never],
    [true, never],
    [{}, never],
  ];
  test.each(instants)("the revocation %j means %j", async (tokensValidAfter, instant) => {
    await put({ _id: 1, username: "alice", tokensValidAfter });
    expect((await adopt().findBySubject("1"))?.tokensValidAfter).toEqual(instant);
  });

  test.each<[unknown, string[]]>([
    [undefined, []],
    [null, []],
    ["admin", ["admin"]],
    [
      ["a", 1, null, "b"],
      ["a", "b"],
    ],
    [{ admin: true }, []],
  ])("the roles %j mean %j", async (roles, expected) => {
    await put({ _id: 1, username: "alice", roles });
    expect((await adopt().findBySubject("1"))?.roles).toEqual(expected);
  });

  test.each([7, null, ["$2b$"], { bcrypt: "$2b$" }])(
    "the hash %j is none",
    async (passwordHash) => {
      await put({ _id: 1, username: "alice", passwordHash });
      expect((await adopt().findByUsername("alice"))?.passwordHash).toBeUndefined();
    },
  );

  test("a write touches the mapped fields and no other", async () => {
    const document = {
      _id: 1,
      profile: { login: "alice", is_active: true, city: "Bonn" },
      services: { password: { hash: "old", rounds: 5 }, other: [1, { a: 2 }] },
      createdAt: new Date(0),
      counter: Long.fromString("9007199254740993"),
    };
    await put(document);
    const users = adopt({ fields: adoptedFields });
    const id = { type: "int", value: "1" } as const;
    const now = new Date(1.7e12);
    await users.update(id, { disabled: true, tokensValidAfter: now });
    await users.replacePasswordHash(id, "old", "new");
    expect(await documents.findOne()).toEqual({
      ...document,
      profile: { ...document.profile, is_active: false },
      services: { ...document.services, password: { hash: "new", rounds: 5, changedAt: now } },
    });
    const user = newUser({ id, passwordHash: undefined, roles: ["a"] });
    const options = { onConflict: "replace", replacedAt: new Date(1.8e12), dryRun: false } as const;
    expect(await users.import([user], options)).toEqual(["replaced"]);
    expect(await documents.findOne()).toEqual({
      ...document,
      roles: ["a"],
      // A line without a hash takes nobody's password away.
      services: { ...document.services, password: { hash: "new", rounds: 5, changedAt: now } },
    });
  });

  test("a replacement that keeps the hash keeps a revocation that it cannot read", async () => {
    const document = { _id: 1, username: "alice", passwordHash: "old", tokensValidAfter: "??" };
    await put(document);
    const user = newUser({ id: { type: "int", value: "1" }, passwordHash: "old", roles: ["a"] });
    const options = { onConflict: "replace", replacedAt: new Date(), dryRun: false } as const;
    expect(await adopt().import([user], options)).toEqual(["replaced"]);
    expect(await documents.findOne()).toEqual({ ...document, roles: ["a"] });
  });

  test("the user of the old server, as that one wrote him", async () => {
    const { username, passwordHash } = seedUser;
    await put({ _id: 1, username, passwordHash });
    expect(await adopt().findByUsername("TestUser")).toEqual(seedUser);
  });

  test("a unique index of another field is named, not mistaken for a taken username", async () => {
    await put({ _id: 1, username: "eve" });
    await documents.createIndex({ email: 1 }, { unique: true }, undefined);
    await expect(adopt().add(newUser())).rejects.toMatchObject({ code: "internal" });
  });

  describe("indexes", () => {
    const indexes = async () =>
      (await documents.indexes()).map(({ key }) => Object.keys(key).join());

    test("a collection that is not there gets its index before its first user", async () => {
      await adopt().add(newUser());
      expect(await documents.indexes()).toContainEqual(
        expect.objectContaining({ key: { username: 1 }, unique: true }),
      );
      expect(await store.warnings()).toEqual([]);
    });

    test("a collection with users gets none, and a warning", async () => {
      await put({ _id: 1, username: "alice" });
      await adopt().add(newUser({ username: "bob" }));
      expect(await store.warnings()).toEqual([
        expect.stringMatching(/^no unique index on the field username of the collection users/),
        expect.stringMatching(/^no index on the field username of the collection users/),
      ]);
      expect(await indexes()).toEqual(["_id"]);
    });

    test("an import tells names apart where no index does", async () => {
      await put({ _id: 1, username: "alice" });
      await documents.createIndex({ username: 1 }, {}, undefined);
      const user = (id: number, username: string) =>
        newUser({ id: { type: "int", value: String(id) }, username });
      const batch = [user(2, "alice"), user(3, "bob"), user(4, "bob"), user(1, "carol")];
      const options = { onConflict: "skip", replacedAt: new Date(), dryRun: false } as const;
      expect(await adopt().import(batch, options)).toEqual([
        ...["username_taken", "added", "username_taken", "id_taken"],
      ]);
      expect(await documents.countDocuments()).toBe(2);
    });

    test.each([
      [{ username: 1 }, {}, 1],
      [{ username: 1, tenant: 1 }, { unique: true }, 1],
      [{ tenant: 1, username: 1 }, { unique: true }, 2],
      [{ username: 1 }, { partialFilterExpression: { tenant: 1 }, unique: true }, 2],
      [{ username: -1 }, { unique: true, sparse: true }, 0],
    ] as const)("the index %j %j leaves %d to warn of", async (key, options, warnings) => {
      await put({ _id: 1, username: "alice" });
      await documents.createIndex(key, options, undefined);
      adopt();
      expect(await store.warnings()).toHaveLength(warnings);
    });

    test("a login looks its user up by the index", async () => {
      const client = new MongoClient(uri, { monitorCommands: true });
      await client.close();
      await adopt().add(newUser());
      const plan = await documents.find({ username: "alice" }).limit(2).explain("queryPlanner");
      expect(JSON.stringify(plan)).toContain("IXSCAN");
    });
  });
});

describe("mongo: an unreliable server", () => {
  let server: MongoServer | undefined;
  beforeAll(async () => {
    server = await startMongoServer();
  });
  afterAll(() => server?.dispose());

  const id = { type: "int", value: "1" } as const;
  const calls: [string, (store: Store) => Promise<unknown>][] = [
    ["findByUsername", ({ users }) => users.findByUsername("alice")],
    ["findBySubject", ({ users }) => users.findBySubject("1")],
    ["add", ({ users }) => users.add(newUser())],
    [
      "import",
      ({ users }) =>
        users.import([newUser()], { onConflict: "fail", replacedAt: new Date(), dryRun: false }),
    ],
    ["update", ({ users }) => users.update(id, { disabled: true })],
    ["replacePasswordHash", ({ users }) => users.replacePasswordHash(id, "old", "new")],
    ["remove", ({ users }) => users.remove(id)],
    ["list", ({ users }) => collect(users)],
    ["load", ({ keys }) => keys.load()],
    ["save", ({ keys }) => keys.save("{}", 3)],
    ["warnings", (store) => store.warnings()],
    ["ping", (store) => store.ping()],
  ];
  const unavailable = { code: "store_unavailable", retryAfterSeconds: 1 };
  const deadlineMs = 1500;

  /** Every call at once, and each within far less than any timeout of the driver or the server. */
  async function expectUnavailable(store: Store) {
    const started = performance.now();
    const results = await Promise.allSettled(calls.map(([, call]) => call(store)));
    expect(performance.now() - started).toBeLessThan(deadlineMs + 4000);
    for (const [i, [name]] of calls.entries()) {
      expect([name, results[i]]).toMatchObject([name, { status: "rejected", reason: unavailable }]);
    }
  }

  /** As a client would: again, until it answers. */
  async function expectRecovery(store: Store) {
    for (let attempt = 0; ; attempt++) {
      try {
        await store.ping();
        break;
      } catch (error) {
        if (attempt === 40) throw error;
      }
    }
    expect((await store.users.findByUsername("alice"))?.username).toBe("alice");
  }

  test("a frozen one is store_unavailable in every method, thawed it answers again", async () => {
    if (!server) return;
    const store = openAt(server.uri("frozen"), { deadlineMs });
    await expectEventually(() => store.users.add(newUser()));
    server.freeze();
    try {
      await expectUnavailable(store);
      await expectUnavailable(store);
    } finally {
      server.thaw();
    }
    await expectRecovery(store);
    await store.close();
  });

  test("a list that the server stops answering ends", async () => {
    if (!server) return;
    const store = openAt(server.uri("list"), { deadlineMs });
    const many = Array.from({ length: 2500 }, (_, i) =>
      newUser({ id: { type: "int", value: String(i) }, username: `user${i}` }),
    );
    const how = { onConflict: "skip", replacedAt: new Date(), dryRun: false } as const;
    for (let i = 0; i < many.length; i += 500) {
      await expectEventually(() => store.users.import(many.slice(i, i + 500), how));
    }
    const frozen = server;
    const reading = (async () => {
      for await (const user of store.users.list()) if (user.username) frozen.freeze();
    })();
    await expect(reading)
      .rejects.toMatchObject(unavailable)
      .finally(() => frozen.thaw());
    await store.close();
  });

  test("one that falls silent during an inspection ends it, however long an answer may take", async () => {
    if (!server) return;
    const store = openAt(server.uri("inspected"), { deadlineMs: 600_000 });
    await expectEventually(() => store.users.add(newUser()));
    const frozen = server;
    const inspect = async (freezeAfter: string) => {
      for await (const { check } of store.inspect({ fix: false, now: Date.now })) {
        if (check === freezeAfter) frozen.freeze();
      }
    };
    for (const check of ["connection", "uniqueness"]) {
      await expect(inspect(check))
        .rejects.toMatchObject(unavailable)
        .finally(() => frozen.thaw());
      await expectRecovery(store);
    }
    await expect(inspect("none of them")).resolves.toBeUndefined();
    await store.close();
  });

  test("one that is frozen does not keep the store from closing", async () => {
    if (!server) return;
    const store = openAt(server.uri("frozen"), { deadlineMs });
    await expectEventually(() => store.ping());
    server.freeze();
    await store.close().finally(() => server?.thaw());
  });

  test("one that stops and starts again is found again by the same store", async () => {
    if (!server) return;
    const store = openAt(server.uri("restarted"), { deadlineMs });
    await expectEventually(() => store.users.add(newUser()));
    await server.stop();
    await expectUnavailable(store);
    await server.start();
    await expectRecovery(store);
    await store.close();
  });

  test("one that is absent at the start may come later, and the index is made then", async () => {
    if (!server) return;
    await server.stop();
    const store = openAt(server.uri("late"), { deadlineMs });
    await expectUnavailable(store);
    await server.start();
    await expectEventually(() => store.users.add(newUser()));
    await expectRecovery(store);
    expect(await store.warnings()).toEqual([]);
    await store.close();
  });

  test("one that does not exist is no error at the start, and none at the end", async () => {
    const store = openAt("mongodb://nobody.invalid/latchkey", { deadlineMs: 300 });
    await expect(store.ping()).rejects.toMatchObject(unavailable);
    await store.close();
  });

  test("a connection string that cannot be parsed is an error, without its password", () => {
    const open = () => openAt("mongodb://user:secret@host/db?nonsense=1");
    expect(open).toThrow(expect.objectContaining({ name: "MongoStoreError" }));
    expect(open).not.toThrow(/secret/);
  });

  /** A deadline this short may be missed by a busy machine now and then. */
  async function expectEventually(call: () => Promise<unknown>) {
    for (let attempt = 0; ; attempt++) {
      try {
        return await call();
      } catch (error) {
        if (attempt === 20) throw error;
      }
    }
  }
});
