/** `latchkey doctor` as the operator runs it, on a MongoDB with everything that can be wrong. */
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { Long, MongoClient, ObjectId, type Db } from "mongodb";
import { createCli, type Cli } from "../support/cli.js";
import { useStores } from "../support/stores.js";

const bcrypt = "$2b$05$u20VBwsot1oJi.pHspQ2FeLqF6KpWrbwgDdwRbmVtkUpNQ3hq7Oz6";
const stores = useStores();
let cli: Cli;
let client: MongoClient;
let db: Db;
let env: Record<string, string>;

interface Line {
  readonly level: string;
  readonly check: string;
  readonly message: string;
  readonly remedy?: string;
  readonly users?: readonly { _id: unknown; username?: string }[];
}

beforeEach(async () => {
  cli = createCli();
  const { MONGODB_URI = "" } = await stores.newPlace("mongodb");
  env = { MONGODB_URI, KEY_ENCRYPTION_KEY: "00".repeat(32) };
  client = new MongoClient(MONGODB_URI);
  db = client.db();
});
afterEach(async () => {
  cli.remove();
  await client.close();
});

async function doctor(...options: string[]) {
  const { code, stdout, stderr } = await cli.run(["doctor", "--json", ...options], { env });
  const lines = stdout.trim().split("\n").filter(Boolean);
  const findings = lines.map((line) => JSON.parse(line) as Line);
  const of = (check: string, level?: string) =>
    findings.filter((each) => each.check === check && (!level || each.level === level));
  return { code, stdout, stderr, of };
}

const named = (_id: unknown, username: unknown, more: object = {}) => ({
  ...{ _id, username, passwordHash: bcrypt },
  ...more,
});

describe("doctor", () => {
  test("a sound collection passes, whatever the store", async () => {
    await db.collection("users").createIndex({ username: 1 }, { unique: true }, undefined);
    await db
      .collection<{ _id: unknown }>("users")
      .insertMany([named(1, "alice"), named(2, "bob")] as never);
    const { code, of } = await doctor();
    expect(code).toBe(0);
    for (const check of ["connection", "clock", "index", "uniqueness", "keys"]) {
      expect(of(check).map(({ level }) => level)).toEqual(["ok"]);
    }
    expect(of("users")[0]?.message).toContain("2 of 2 users can log in (100%)");
    expect(of("users")[1]?.message).toMatch(/^2 with bcrypt cost=5/);
    const embedded = await cli.run(["doctor"], { env: { KEY_ENCRYPTION_KEY: "00".repeat(32) } });
    expect([embedded.code, embedded.stderr]).toEqual([
      1,
      expect.stringMatching(/there is no embedded store at \/.*check DATA_DIR/),
    ]);
  });

  test("names what will not work, and what to do, and neither a name nor a hash unasked", async () => {
    await db.collection("users").insertMany([
      named(1, "alice"),
      named(2, "alice"),
      named("1", "bob"),
      named(3, "carol", {
        passwordHash: "$2b$31$u20VBwsot1oJi.pHspQ2FeLqF6KpWrbwgDdwRbmVtkUpNQ3hq7Oz6",
      }),
      named(4, "dave", { passwordHash: "hunter2" }),
      named(5, "erin", { passwordHash: undefined }),
      named(8, "ivan", { passwordHash: "!LMXlTdvE" }),
      named(6, "frank", { disabled: true }),
      named(Long.fromString("9007199254740993"), "grace"),
      named(7, 17),
      named({ a: 1 }, "heidi"),
    ] as never);
    const { code, stdout, of } = await doctor();
    expect(code).toBe(1);
    expect(of("index", "error")).toHaveLength(1);
    expect(of("uniqueness")[0]).toMatchObject({
      level: "error",
      users: [{ _id: 1 }, { _id: 2 }],
    });
    const users = of("users").map(({ level, message }) => `${level}: ${message}`);
    expect(users).toEqual(
      expect.arrayContaining([
        expect.stringMatching(
          /^error: 1 are no users, because they have a username that is no text/,
        ),
        expect.stringMatching(/^error: 1 are no users, because they have an _id of a type/),
        expect.stringMatching(/^error: 2 cannot log in, because they have a username that another/),
        expect.stringMatching(/^ok: 2 of 11 users can log in/),
        expect.stringMatching(
          /^error: 1 have a hash that costs more than a login may .*\(bcrypt: cost over 14\)/,
        ),
        expect.stringMatching(/^error: 1 have a hash that cannot be used/),
        expect.stringMatching(/^warning: 2 have no password hash/),
        expect.stringMatching(/^ok: 1 are disabled/),
        expect.stringMatching(/^error: 2 have the same token subject/),
      ]),
    );
    for (const secret of ["alice", "bob", "carol", "hunter2", "u20VBwsot1oJi"]) {
      expect(stdout).not.toContain(secret);
    }
    const told = await doctor("--names");
    expect(told.stdout).toContain("alice");
    expect(told.stdout).not.toContain("hunter2");
  });

  test("--fix makes the index that is missing, and only when no name occurs twice", async () => {
    const users = db.collection("users");
    await users.insertMany([named(1, "alice"), named(2, "Alice")] as never);
    env = { ...env, USERNAME_MATCH: "ignore-case" };
    const refused = await doctor("--fix");
    expect([refused.code, refused.of("uniqueness")[0]?.level]).toEqual([1, "error"]);
    await users.deleteOne({ username: "Alice" });
    expect((await doctor()).of("uniqueness")[0]?.level).toBe("warning");
    const fixed = await doctor("--fix");
    expect([fixed.code, fixed.of("index")[0]?.level]).toEqual([0, "ok"]);
    await expect(users.insertOne({ username: "ALICE" })).rejects.toMatchObject({ code: 11_000 });
    expect((await doctor()).of("uniqueness")[0]?.level).toBe("ok");
  });

  test.each([
    ["that is not unique", { username: 1 }, {}],
    [
      "that is partial",
      { username: 1 },
      { unique: true, partialFilterExpression: { active: true } },
    ],
    [
      "that ignores case",
      { username: 1 },
      { unique: true, sparse: true, collation: { locale: "en", strength: 2 } },
    ],
    ["of that name on another field", { email: 1 }, { name: "username_1" }],
  ] as const)("--fix is no dead end beside an index %s", async (_, key, options) => {
    const users = db.collection("users");
    await users.insertMany([named(1, "alice"), { _id: 2 }, { _id: 3 }] as never);
    await users.createIndex(key, options, undefined);
    expect((await doctor()).of("uniqueness")[0]?.level).toBe("warning");
    const fixed = await doctor("--fix");
    const { code, of } = await doctor();
    for (const check of ["uniqueness", "index"]) {
      expect([fixed, { of }].map((each) => each.of(check)[0]?.level)).toEqual(["ok", "ok"]);
    }
    expect([fixed.code, code]).toEqual([0, 0]);
    await expect(users.insertOne({ username: "alice" })).rejects.toMatchObject({ code: 11_000 });
  });

  test("--fix makes an index for names at a place in a list, and Meteor's own will do", async () => {
    env = { ...env, USERS_USERNAME_FIELD: "emails.0.address" };
    const users = db.collection("users");
    const emails = [{ address: "alice@b.c" }, { address: "other@b.c" }];
    await users.insertOne({ emails, passwordHash: bcrypt });
    expect((await doctor()).of("index")[0]?.level).toBe("error");
    expect((await doctor("--fix")).of("index")[0]?.level).toBe("ok");
    expect((await doctor()).code).toBe(0);
    await users.dropIndexes();
    await users.createIndex({ "emails.address": 1 }, { unique: true, sparse: true }, undefined);
    const { code, of } = await doctor();
    expect([code, of("index")[0]?.level, of("uniqueness")[0]?.level]).toEqual([0, "ok", "ok"]);
  });

  const knows = (...fields: string[]) => ({
    $jsonSchema: {
      additionalProperties: false,
      properties: Object.fromEntries(
        ["_id", "username", "passwordHash", ...fields].map((field) => [field, {}]),
      ),
    },
  });

  test.each([
    ["that forbids new fields", knows(), {}, ["revoke", "disable", "passwd"]],
    ["that knows one of them", knows("disabled"), {}, ["revoke", "passwd"]],
    ["that knows all", knows("disabled", "tokensValidAfter"), {}, []],
    ["of hashes of one family", { passwordHash: /^\$2b\$/ }, {}, ["passwd"]],
    ["that only warns", knows(), { validationAction: "warn" }, []],
    ["that is off", knows(), { validationLevel: "off" }, []],
  ])(
    "a validator %s: what it would refuse is what it refuses",
    async (_, validator, more, refused) => {
      await db.createCollection("users", { validator, ...more });
      await db.collection("users").insertOne(named(1, "alice") as never);
      await db.collection("users").createIndex({ username: 1 }, { unique: true }, undefined);
      const { code, of } = await doctor();
      const said = of("validator", "error").map(({ message }) =>
        message.replace(/.* the writes of /, ""),
      );
      const names = refused.map((command) => `users ${command}`).join(", ");
      expect([code, said]).toEqual(refused.length > 0 ? [1, [names]] : [0, []]);
      for (const command of ["revoke", "disable", "passwd"]) {
        const options = command === "passwd" ? ["--password-stdin"] : [];
        const input = "a password of some length";
        const result = await cli.run(["users", command, "alice", ...options], { env, input });
        expect([command, result.code]).toEqual([command, Number(names.includes(command))]);
        await db.collection("users").updateOne({ username: "alice" }, [{ $unset: "disabled" }]);
      }
    },
  );

  test("the validator of a collection of hashes beside the users' refuses a new hash, and doctor says so", async () => {
    env = { ...env, USERS_PRESET: "better-auth" };
    const _id = new ObjectId();
    await db.collection("user").insertOne({ _id, email: "alice@example.com" });
    await db.collection("user").createIndex({ email: 1 }, { unique: true }, undefined);
    await db.createCollection("account", { validator: { password: /^\$2b\$/ } });
    const account = { providerId: "credential", userId: _id, password: bcrypt };
    await db.collection("account").insertOne(account);
    expect((await doctor()).of("validator", "error")).toEqual([
      expect.objectContaining({ message: expect.stringMatching(/ the writes of users passwd$/) }),
    ]);
    for (const command of ["revoke", "disable", "passwd"]) {
      const options = command === "passwd" ? ["--password-stdin"] : [];
      const input = "a password of some length";
      const argv = ["users", command, "alice@example.com", ...options];
      const { code } = await cli.run(argv, { env, input });
      expect([command, code]).toEqual([command, Number(command === "passwd")]);
    }
    expect(await db.collection("account").findOne({})).toMatchObject(account);
  });

  test("a wrong encryption key, a store that is away and a bad configuration are told apart", async () => {
    const started = cli.start(["serve"], { ...env, PORT: "0", MANAGEMENT_PORT: "0" });
    await new Promise<void>((resolve) => {
      started.stdout.on("data", (text: Buffer) => {
        if (text.includes("keys changed") || text.includes("key_")) resolve();
      });
      setTimeout(resolve, 5000);
    });
    started.kill();
    await new Promise((resolve) => started.once("close", resolve));
    const other = { ...env, KEY_ENCRYPTION_KEY: "11".repeat(32) };
    const wrong = await cli.run(["doctor"], { env: other });
    expect([wrong.code, wrong.stdout]).toEqual([1, expect.stringMatching(/ERROR {4}keys: /)]);
    const away = await cli.run(["doctor"], { env: { MONGODB_URI: "mongodb://127.0.0.1:1/x" } });
    expect([away.code, away.stderr]).toEqual([
      1,
      expect.stringContaining("MongoDB does not answer"),
    ]);
    const bad = await cli.run(["doctor"], { env: { PORT: "x", USERS_PRESET: "y" } });
    expect([bad.code, bad.stderr]).toEqual([78, expect.stringContaining("USERS_PRESET must be")]);
  });
});
