/** The law of adoption: who can log in by `doctor` logs in, and whoever it leaves out does not. */
import { afterEach, expect, test } from "@jest/globals";
import {
  Binary,
  DBRef,
  Decimal128,
  Double,
  Long,
  MongoClient,
  ObjectId,
  Timestamp,
  UUID,
  type Document,
} from "mongodb";
import { takeCensus } from "../../src/auth/passwords/census.js";
import type { UserRecord } from "../../src/auth/users.js";
import type { Environment } from "../../src/config/config.js";
import { createHttpClient } from "../support/http.js";
import { startService, type RunningService } from "../support/service.js";
import { useStores } from "../support/stores.js";

const password = "correct horse battery";
const bcrypt = "$2b$04$IKfY84R7ej.yoabdkzBO0OSZhAMQs2QBzXOLfDqAIr3pTDFMP81C6";
/** Over the SHA-256 that Meteor's client sends. */
const meteorBcrypt = "$2b$04$7AV0uOJaTNg.B3PFHa3AJev/GSzeGuVxfwSTZG5Dq339E3IO5NfqW";
const sha256 = "9028ea0d15decaa35b2da21c0290af3b1a5ba0a30a591906f89b5074e209ea72";
const argon2 =
  "$argon2id$v=19$m=19456,t=2,p=1$CtJRgL8TGcUPZJ+nmXbsZw$XJtfdrZSLwL8IJ6nDNJ2dQQOC+zAcUGhEFJ9U5SSw40";
const past = new Date("2001-01-01T00:00:00Z");
const future = new Date("2999-01-01T00:00:00Z");
const seed = 16;

/** Numbers from 0 to 1 that are the same at every run (mulberry32). */
function randomOf(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Shapes {
  readonly env: Environment;
  readonly username: string;
  readonly hash: string;
  /** A hash of the password, as this collection has them; bcrypt unless said otherwise. */
  readonly right?: string;
  readonly roles?: string;
  readonly name: (text: string) => string;
  /** Fields of the flags, with values of both kinds. */
  readonly flags: Readonly<Record<string, readonly unknown[]>>;
  readonly validAfter: string;
}

const bytes = (text: string) => new Binary(Buffer.from(text));
const legacy = (id: string) => new Binary(new UUID(id).value(), 3);
const flag = [
  undefined,
  undefined,
  undefined,
  true,
  false,
  null,
  0,
  1,
  "active",
  Decimal128.fromString("0"),
];
const instants = [undefined, undefined, null, past, future];
/** What a collection may have as the instant that ends tokens. */
const validAfters = [
  ...Array.from({ length: 6 }, () => undefined),
  null,
  past,
  past.getTime(),
  Long.fromNumber(past.getTime()),
  978_307_200,
  0,
  NaN,
  "2001-01-01 00:00:00",
  "2001-01-01T00:00:00+02:00",
  "2001-01-01",
  "",
  "soon",
  new Timestamp({ t: 978_307_200, i: 1 }),
  new Timestamp({ t: 4_000_000_000, i: 1 }),
  [Long.fromString("631138176000000000"), 120],
  { DateTime: past },
  future,
  4_000_000_000,
  true,
];

const collections: Readonly<Record<string, Shapes>> = {
  "a collection of one's own": {
    env: { USERS_LEGACY_UUID: "java" },
    username: "username",
    hash: "passwordHash",
    name: (text) => text,
    flags: { disabled: flag },
    validAfter: "tokensValidAfter",
  },
  "legacy UUIDs of no known order, names of either case": {
    env: { USERNAME_MATCH: "ignore-case" },
    username: "username",
    hash: "passwordHash",
    name: (text) => text,
    flags: { disabled: flag },
    validAfter: "tokensValidAfter",
  },
  meteor: {
    env: { USERS_PRESET: "meteor", USERS_USERNAME_FIELD: "emails.0.address" },
    username: "emails.0.address",
    hash: "services.password.bcrypt",
    right: meteorBcrypt,
    name: (text) => text,
    flags: { active: flag },
    validAfter: "tokensValidAfter",
  },
  "aspnet-identity": {
    env: { USERS_PRESET: "aspnet-identity" },
    username: "NormalizedUserName",
    hash: "PasswordHash",
    name: (text) => text.toUpperCase(),
    flags: { LockoutEnd: instants, LockoutEnabled: [undefined, true, false] },
    validAfter: "tokensValidAfter",
  },
  devise: {
    env: { USERS_PRESET: "devise" },
    username: "email",
    hash: "encrypted_password",
    name: (text) => text.toLowerCase(),
    flags: {
      locked_at: instants,
      deleted_at: instants,
      confirmed_at: instants,
      confirmation_sent_at: instants,
    },
    validAfter: "tokensValidAfter",
  },
  "spring, with hashes that carry no mark": {
    env: { USERS_PRESET: "spring", USERS_PASSWORD_FORMAT: "sha256" },
    username: "username",
    hash: "password",
    right: sha256,
    roles: "authorities",
    name: (text) => text,
    flags: { enabled: [true, true, true, ...flag], accountNonLocked: [undefined, true, false] },
    validAfter: "tokensValidAfter",
  },
  strapi: {
    env: { USERS_DISABLED_FIELD: "blocked,confirmed=false", USERS_LEGACY_UUID: "python" },
    username: "username",
    hash: "passwordHash",
    name: (text) => text,
    flags: { blocked: flag, confirmed: [undefined, true, false] },
    validAfter: "tokensValidAfter",
  },
};

function put(document: Document, path: string, value: unknown): void {
  if (value === undefined) return;
  const keys = path.split(".");
  const last = keys.pop() ?? path;
  const parent = keys.reduce<Document>((nested, key, i) => {
    const isList = /^\d+$/.test(keys[i + 1] ?? last);
    return (nested[key] ??= isList ? [] : {}) as Document;
  }, document);
  parent[last] = value;
}

function generate(shapes: Shapes, count: number): Document[] {
  const random = randomOf(seed);
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T;
  const { right = bcrypt } = shapes;
  return Array.from({ length: count }, (_, i) => {
    const unique = shapes.name(`user${i}`);
    const id: unknown = pick([
      ...Array.from({ length: 6 }, () => new ObjectId()),
      i,
      i,
      String(pick([i, i - 1, i + 0.5])),
      Long.fromNumber(i),
      new Double(i),
      new Double(i + 0.5),
      "",
      null,
      new UUID(),
      legacy(new UUID().toHexString()),
      new Binary(Buffer.from([i % 256, i >> 8]), 0),
      { nested: i },
      new Date(i),
      Decimal128.fromString(String(i)),
      new Timestamp({ t: i, i: 1 }),
      `text ${i}`,
    ]);
    const username: unknown = pick([
      ...Array.from({ length: 12 }, () => unique),
      shapes.name(`a:colon${i}`),
      shapes.name(`e\u0301 ${i}`),
      unique.toUpperCase(),
      unique.toLowerCase(),
      ` ${unique} `,
      shapes.name(`user${Math.max(0, i - 1)}`),
      shapes.name("twin"),
      shapes.name("Twin").toLowerCase(),
      [unique],
      [shapes.name(`user${Math.max(0, i - 2)}`), "other"],
      "",
      null,
      undefined,
      i,
      "x".repeat(256) + String(i),
      { nested: unique },
    ]);
    const hash: unknown = pick([
      ...Array.from({ length: 6 }, () => right),
      argon2,
      bytes(right),
      bytes(`${right}\n`),
      bytes(right.padEnd(80, "\0")),
      new Binary(Buffer.from(right), 5),
      `${right}\n`,
      right.padEnd(80),
      ` ${right}`,
      `{bcrypt}${bcrypt}`,
      right.slice(0, -1),
      bcrypt.replace("$04$", "$31$"),
      "!unusable",
      password,
      "",
      null,
      undefined,
      7,
      { hash: bcrypt },
    ]);
    const document: Document = { _id: id };
    put(document, shapes.username, username);
    put(document, shapes.hash, hash);
    for (const [path, values] of Object.entries(shapes.flags)) put(document, path, pick(values));
    put(
      document,
      shapes.roles ?? "roles",
      pick([
        undefined,
        "a",
        ["a"],
        ["a", 7, ""],
        [{ _id: "ROLE_USER" }],
        [new DBRef("roles", "a" as never)],
        [new ObjectId()],
        { group: ["a"] },
      ]),
    );
    put(document, shapes.validAfter, pick(validAfters));
    return document;
  });
}

const stores = useStores();
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** What a login gives, and whether its token is accepted back. */
async function login({ url }: RunningService, username: string) {
  const client = createHttpClient(url);
  try {
    const body = JSON.stringify({ username, password });
    const answer = await client.call("/api/v1/authentication/login", { body });
    if (answer.status !== 200) return undefined;
    const { data } = JSON.parse(answer.body) as { data: string };
    const [, claims = ""] = data.split(".");
    const { sub, roles } = JSON.parse(Buffer.from(claims, "base64url").toString()) as {
      sub: string;
      roles?: readonly string[];
    };
    const headers = { authorization: `Bearer ${data}` };
    const isRenewed = (await client.call("/api/auth/token", { headers })).status === 200;
    return { sub, roles, isRenewed };
  } finally {
    client.close();
  }
}

// eslint-disable-next-line @typescript-eslint/require-await
async function* only<T>(value: T): AsyncGenerator<T> {
  yield value;
}

test.each(Object.entries(collections))("%s", async (name, shapes) => {
  const env: Environment = {
    ...(await stores.newPlace("mongodb")),
    THROTTLE_FAILURES: "0",
    HASH_CONCURRENCY: "4",
    ...shapes.env,
  };
  const client = new MongoClient(env["MONGODB_URI"] ?? "");
  cleanups.push(() => client.close());
  const collection = client.db().collection(name === "aspnet-identity" ? "Users" : "users");
  const documents = generate(shapes, 220);
  const inserted = new Set<Document>(documents);
  await collection.insertMany(documents, { ordered: false }).catch((error: unknown) => {
    // Two of the ids may be one.
    const { writeErrors = [] } = error as { writeErrors?: { index: number }[] };
    for (const { index } of writeErrors) inserted.delete(documents[index] ?? {});
  });
  const service = await startService(env, []);
  cleanups.push(() => service.close());
  const { users } = service.store;

  const records: UserRecord[] = [];
  for await (const record of users.records()) records.push(record);
  expect(records).toHaveLength(await collection.countDocuments());
  let able = 0;
  for (const record of records) {
    const { canLogIn, faults } = await takeCensus(
      { records: () => only(record), existing: (ids) => users.existing(ids) },
      () => undefined,
    );
    able += canLogIn;
    // Whoever cannot is named.
    if (canLogIn === 0) expect([record.id, faults.length > 0]).toEqual([record.id, true]);
    const { user } = record;
    if (user === undefined) {
      expect(canLogIn).toBe(0);
      continue;
    }
    const result = await login(service, user.username);
    const isIn = result?.sub === user.id.value;
    expect([record, isIn]).toEqual([record, canLogIn === 1]);
    if (!result || !isIn) continue;
    const reasons = faults.map(({ fault, reason = fault }) => reason);
    const isNamed = reasons.some((reason) => /shared_subject|cannot renew/.test(reason));
    expect([record, result.isRenewed]).toEqual([record, !isNamed]);
    const isToldOfBasic = reasons.some((reason) => reason.includes("HTTP Basic"));
    expect([record, isToldOfBasic]).toEqual([record, user.username.includes(":")]);
    expect([record, result.roles ?? []]).toEqual([record, user.roles]);
  }
  const census = await takeCensus(users, () => undefined);
  expect(census).toMatchObject({ users: records.length, canLogIn: able });
  expect(able).toBeGreaterThan(5);
  expect(able).toBeLessThan(records.length);
});
