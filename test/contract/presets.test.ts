/** Collections that frameworks wrote, served as they are. See test/presets/README.md. */
import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "@jest/globals";
import { BSON, MongoClient, type Document, type IndexDescriptionInfo } from "mongodb";
import { verifyPassword } from "../../src/auth/passwords/passwords.js";
import { takeCensus } from "../../src/auth/passwords/census.js";
import type { Environment } from "../../src/config/config.js";
import { presets, type PresetName } from "../../src/config/presets.js";
import { basic, createHttpClient } from "../support/http.js";
import { startService, type RunningService } from "../support/service.js";
import { useStores } from "../support/stores.js";

interface Fixture {
  readonly by: string;
  readonly password?: string;
  readonly collections: Readonly<Record<string, readonly Document[]>>;
  readonly indexes: Readonly<Record<string, readonly IndexDescriptionInfo[]>>;
}

function read(file: string): unknown {
  const text = readFileSync(new URL(`../presets/${file}.json`, import.meta.url), "utf8");
  return BSON.EJSON.parse(text, { relaxed: true });
}
const published = read("published") as Record<string, Fixture>;
const fixtureOf = (name: string) => published[name] ?? (read(name) as Fixture);

const emailPresets: readonly string[] = ["better-auth", "payload", "devise"];
const roles: Readonly<Record<string, readonly string[]>> = {
  meteor: ["user", "admin"],
  payload: ["admin", "editor"],
  "better-auth": ["admin", "user"],
  spring: ["ROLE_ADMIN", "ROLE_USER"],
  "aspnet-identity": ["ADMIN"],
};
/** The presets whose framework has a way to say that a user is disabled. */
const withMallory = ["meteor", "better-auth", "spring", "django", "aspnet-identity", "devise"];

const stores = useStores();
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** The service on a database as the framework left it. */
async function adopt(name: string, more: Environment = {}) {
  const env: Environment = {
    ...(await stores.newPlace("mongodb")),
    USERS_PRESET: name,
    ...more,
  };
  const fixture = fixtureOf(name);
  const client = new MongoClient(env["MONGODB_URI"] ?? "");
  cleanups.push(() => client.close());
  const db = client.db();
  for (const [collection, documents] of Object.entries(fixture.collections)) {
    await db.collection(collection).insertMany([...documents]);
    for (const { key, ...options } of fixture.indexes[collection] ?? []) {
      await db.collection(collection).createIndex(key, options, undefined);
    }
  }
  const service = await startService(env, []);
  cleanups.push(() => service.close());
  const dump = async (): Promise<Record<string, Document[]>> => {
    const collections = Object.keys(fixture.collections);
    const all = collections.map((each) => db.collection(each).find().sort({ _id: 1 }).toArray());
    const entries = (await Promise.all(all)).map(
      (each, i) => [collections[i] ?? "", each] as const,
    );
    return Object.fromEntries<Document[]>(entries);
  };
  return { service, password: fixture.password ?? "correct horse battery", dump, db };
}

// eslint-disable-next-line @typescript-eslint/require-await
async function* only<T>(value: T): AsyncGenerator<T> {
  yield value;
}

async function login({ url }: RunningService, username: string, password: string) {
  const client = createHttpClient(url);
  const headers = { authorization: basic(username, password) };
  const { status, body } = await client.call("/api/auth/token", { headers });
  client.close();
  if (status !== 200) return { status };
  const [, claims = ""] = (JSON.parse(body) as { token: string }).token.split(".");
  return { status, ...(JSON.parse(Buffer.from(claims, "base64url").toString()) as object) };
}

const told = (notation: string) => ({ USERS_PASSWORD_FORMAT: notation });
const local = (collection: string, more: Environment = {}): Environment => ({
  USERS_PRESET: "passport-local-mongoose",
  USERS_COLLECTION: collection,
  ...more,
});
const mongoengine = {
  USERS_COLLECTION: "user",
  USERS_PASSWORD_FIELD: "password",
  USERS_DISABLED_FIELD: "!active",
};
const beanie = {
  USERS_COLLECTION: "User",
  USERS_USERNAME_FIELD: "email",
  USERS_PASSWORD_FIELD: "hashed_password",
  USERS_DISABLED_FIELD: "!is_active",
};
const jhipster = {
  USERS_PRESET: "spring",
  USERS_COLLECTION: "jhi_user",
  USERS_USERNAME_FIELD: "login",
  USERS_DISABLED_FIELD: "!activated",
};

/** Whole collections, with how they are adopted and whom that lets in. */
const adoptions: readonly (readonly [
  fixture: string,
  env: Environment,
  able: readonly string[],
])[] = [
  ["passport-local-mongoose", local("users"), ["alice"]],
  ["passport-local-mongoose", local("users_sha1"), []],
  ["passport-local-mongoose", local("users_5000"), []],
  ["passport-local-mongoose", local("users_sha512"), []],
  [
    "passport-local-mongoose",
    local("users_sha1", told("pbkdf2-sha1 iterations=12000 bytes=512 salt=salt")),
    ["alice"],
  ],
  [
    "passport-local-mongoose",
    local("users_5000", told("pbkdf2-sha256 iterations=5000 bytes=512 salt=salt")),
    ["alice"],
  ],
  [
    "passport-local-mongoose",
    local("users_sha512", told("pbkdf2-sha512 iterations=5000 bytes=64 salt=salt")),
    ["alice"],
  ],
  [
    "passport-local-mongoose",
    local("users_base64", {
      ...told("pbkdf2-sha256 iterations=25000 bytes=64 salt=salt encoding=base64"),
      USERS_USERNAME_FIELD: "email",
    }),
    ["alice@example.com"],
  ],
  [
    "better-auth",
    { USERS_PRESET: "better-auth" },
    ["alice@example.com", "bcrypt@example.com", "argon2@example.com"],
  ],
  ["spring", jhipster, ["alice"]],
  ["spring", { ...jhipster, USERS_LEGACY_UUID: "csharp" }, ["alice"]],
  ["mongoengine", { ...mongoengine, USERS_LEGACY_UUID: "python" }, ["alice"]],
  ["mongoengine", mongoengine, []],
  ["mongoengine", { ...mongoengine, USERS_COLLECTION: "member" }, ["alice"]],
  [
    "beanie",
    { ...beanie, USERNAME_MATCH: "ignore-case" },
    ["Alice@example.com", "bcrypt@example.com"],
  ],
  ["django", { USERS_PRESET: "django" }, ["alice"]],
  ["payload", { USERS_PRESET: "payload" }, ["alice@example.com"]],
  ["parse-server", { USERS_PRESET: "parse-server" }, ["alice"]],
];

test.each(adoptions)("%s, adopted by %j: everybody is let in or named", async (name, env, able) => {
  const { service, password } = await adopt(name, { USERS_PRESET: undefined, ...env });
  const names: string[] = [];
  for await (const record of service.store.users.records()) {
    const { canLogIn, assumed, faults } = await takeCensus(
      { records: () => only(record), existing: () => Promise.resolve([]) },
      () => undefined,
    );
    const { user, id } = record;
    const claims = user ? await login(service, user.username, password) : { status: 403 };
    const isIn = claims.status === 200 && "sub" in claims && claims.sub === user?.id.value;
    if (isIn && user) names.push(user.username);
    // Of a hash that does not say how it was made, doctor says so.
    if (assumed === 0) expect([id, isIn]).toEqual([id, canLogIn === 1]);
    expect([id, isIn || assumed === 1 || faults.length > 0]).toEqual([id, true]);
  }
  expect(names.sort()).toEqual([...able].sort());
});

test("roles by reference are read, those that are ids alone are named", async () => {
  const env = { USERS_PRESET: undefined, ...mongoengine, USERS_LEGACY_UUID: "python" };
  const byName = await adopt("mongoengine", env);
  expect(await login(byName.service, "alice", byName.password)).toMatchObject({
    sub: "c2ef90b9-02bc-5d53-93cd-92652b6e1b41",
    roles: ["admin"],
  });
  const byId = await adopt("mongoengine", { ...env, USERS_COLLECTION: "member" });
  const { faults } = await takeCensus(byId.service.store.users, () => undefined);
  expect(faults).toContainEqual(
    expect.objectContaining({ fault: "note", count: 2, reason: expect.stringContaining("roles") }),
  );
  const spring = await adopt("spring", jhipster);
  expect(await login(spring.service, "alice", spring.password)).toMatchObject({
    sub: "6384e2b2-184b-3bf5-8ecc-f10ca7a6563c",
    roles: ["ROLE_ADMIN", "ROLE_USER"],
  });
});

describe.each(Object.keys(presets) as PresetName[])("%s", (name) => {
  const [alice, mallory] = ["alice", "mallory"].map((user) =>
    emailPresets.includes(name) ? `${user}@example.com` : user,
  ) as [string, string];

  test("its users log in with their passwords and roles, and nothing is written", async () => {
    const { service, password, dump } = await adopt(name);
    const before = await dump();
    const [firstCollection = []] = Object.values(before);
    const document = firstCollection[0];
    expect(await login(service, alice, password)).toMatchObject({
      status: 200,
      sub: String(document?._id),
    });
    const claims = await login(service, alice, password);
    expect("roles" in claims ? claims.roles : undefined).toEqual(roles[name]);
    expect(await login(service, alice, `${password}!`)).toEqual({ status: 403 });
    expect(await login(service, "nobody", password)).toEqual({ status: 403 });
    if (withMallory.includes(name)) {
      expect(await login(service, mallory, password)).toEqual({ status: 403 });
    }
    expect(await dump()).toEqual(before);
  });

  test("disabling, enabling and a new password change those fields only", async () => {
    const { service, password, dump } = await adopt(name);
    const { users } = service.store;
    const before = await dump();
    const user = await users.findByUsername(alice);
    if (user === undefined) throw new Error("no alice");
    await users.update(user.id, { disabled: true });
    expect(await login(service, alice, password)).toEqual({ status: 403 });
    await users.update(user.id, { disabled: false });
    expect(await login(service, alice, password)).toMatchObject({ status: 200 });
    const hash =
      "$argon2id$v=19$m=16384,t=2,p=1$P/wxjcj0dSBr3LFgjFEpdw$YItu6Y3q6Myva0A1PVhq3zfvZcWsTUPTjuP7hyWZm1Q";
    expect(await users.replacePasswordHash(user.id, `${user.passwordHash ?? ""}x`, hash)).toBe(
      false,
    );
    expect(await users.replacePasswordHash(user.id, user.passwordHash ?? "", hash)).toBe(true);
    expect((await users.findByUsername(alice))?.passwordHash).toBe(hash);
    await users.update(user.id, { passwordHash: hash, tokensValidAfter: new Date(0) });
    expect(await login(service, alice, "password")).toMatchObject({ status: 200 });
    const after = await dump();
    expect(changedPaths(before, after)).toMatchSnapshot();
  });

  test("with REHASH=on a login leaves a hash of ours", async () => {
    const { service, password } = await adopt(name, { REHASH: "on" });
    const { users } = service.store;
    expect(await login(service, alice, password)).toMatchObject({ status: 200 });
    for (let i = 0; i < 100; i++) {
      const { passwordHash = "" } = (await users.findByUsername(alice)) ?? {};
      if (passwordHash.startsWith("$argon2id$v=19$m=19456")) {
        expect(await verifyPassword(passwordHash, password)).toBe(true);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error("the hash was not replaced");
  });

  test("an explicit variable beats it", async () => {
    const { service, password } = await adopt(name, { USERS_USERNAME_FIELD: "other.name" });
    expect(await login(service, alice, password)).toEqual({ status: 403 });
  });
});

test("Meteor's users log in by a name of another case, unless two could be meant", async () => {
  const { service, password, db } = await adopt("meteor");
  const status = async (name: string) => (await login(service, name, password)).status;
  expect(await status("ALICE")).toBe(200);
  expect(await status("alic.")).toBe(403);
  const alice = await db.collection("users").findOne({ username: "alice" });
  await db.collection("users").insertOne({ ...alice, _id: "other" as never, username: "Alice" });
  expect([await status("ALICE"), await status("Alice")]).toEqual([403, 200]);
});

test("Meteor's users log in by the first of their addresses, by no other", async () => {
  const env = { USERS_USERNAME_FIELD: "emails.0.address" };
  const { service, password, db } = await adopt("meteor", env);
  const emails = ["alice@b.c", "second@b.c"].map((address) => ({ address }));
  await db.collection("users").updateOne({ username: "alice" }, { $set: { emails } });
  await db.collection("users").updateOne(
    { username: "mallory" },
    {
      $set: { emails: [{ address: "mallory@b.c" }, { address: "alice@b.c" }] },
    },
  );
  const status = async (name: string) => (await login(service, name, password)).status;
  expect([await status("alice@b.c"), await status("second@b.c")]).toEqual([200, 403]);
});

test("Devise strips blanks and lowers case", async () => {
  const { service, password } = await adopt("devise");
  const { status } = await login(service, " Alice@Example.com\t", password);
  expect(status).toBe(200);
});

test("Meteor's own argon2 counts, and goes when Latchkey sets a password", async () => {
  const { service, db } = await adopt("meteor");
  const hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$";
  const users = db.collection("users");
  await users.updateOne({ username: "alice" }, { $set: { "services.password": { argon2: hash } } });
  const user = await service.store.users.findByUsername("alice");
  expect(user?.passwordHash).toBe(`{meteor}${hash}`);
  if (user) await service.store.users.update(user.id, { passwordHash: "$argon2id$new" });
  const document = await users.findOne({ username: "alice" });
  expect((document?.["services"] as Document)["password"]).toEqual({ bcrypt: "$argon2id$new" });
});

test("of two credentials of one better-auth user neither counts", async () => {
  const { service, db } = await adopt("better-auth");
  const account = await db.collection("account").findOne({});
  if (account) await db.collection("account").insertOne({ ...account, _id: "other" as never });
  expect((await service.store.users.findByUsername("alice@example.com"))?.passwordHash).toBe(
    undefined,
  );
});

function changedPaths(before: unknown, after: unknown, path = ""): string[] {
  if (BSON.EJSON.stringify([before]) === BSON.EJSON.stringify([after])) return [];
  const isNode = (value: unknown): value is Document =>
    typeof value === "object" &&
    value !== null &&
    !("_bsontype" in value) &&
    !(value instanceof Date);
  if (!isNode(before) || !isNode(after)) return [path];
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...keys].flatMap((key) => changedPaths(before[key], after[key], `${path}/${key}`));
}
