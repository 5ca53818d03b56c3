/** Collections that frameworks wrote, served as they are. See test/presets/README.md. */
import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "@jest/globals";
import { BSON, MongoClient, type Document, type IndexDescriptionInfo } from "mongodb";
import { verifyPassword } from "../../src/auth/passwords/passwords.js";
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

async function login({ url }: RunningService, username: string, password: string) {
  const client = createHttpClient(url);
  const headers = { authorization: basic(username, password) };
  const { status, body } = await client.call("/api/auth/token", { headers });
  client.close();
  if (status !== 200) return { status };
  const [, claims = ""] = (JSON.parse(body) as { token: string }).token.split(".");
  return { status, ...(JSON.parse(Buffer.from(claims, "base64url").toString()) as object) };
}

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
