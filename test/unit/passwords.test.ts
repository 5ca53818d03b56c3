import { randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { describe, expect, test } from "@jest/globals";
import {
  createDecoy,
  decoyLike,
  hashPassword,
  inspectHash,
  needsRehash,
  verifyPassword,
} from "../../src/auth/passwords/passwords.js";

/** Of `password`, by Python's bcrypt 4.0.1 and argon2-cffi 25.1.0. */
const bcryptHash = "$2b$05$u20VBwsot1oJi.pHspQ2FeLqF6KpWrbwgDdwRbmVtkUpNQ3hq7Oz6";
const weakArgon2 =
  "$argon2id$v=19$m=16384,t=2,p=1$L7oXHhP3y+31BDhN5mKBiw$6Wy8/ERDszueWukMaxWecX5QSlC4J7eeqUNx+iis2TY";

describe("a new hash", () => {
  test("is argon2id with our cost, verifies and needs no rehash", async () => {
    const hash = await hashPassword("correct horse");
    expect(hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(await verifyPassword(hash, "correct horse")).toBe(true);
    expect(await verifyPassword(hash, "correct horsf")).toBe(false);
    expect(needsRehash(hash, "correct horse")).toBe(false);
  });

  test("counts every byte of a long password", async () => {
    const hash = await hashPassword("x".repeat(1024));
    expect(await verifyPassword(hash, "x".repeat(1024))).toBe(true);
    expect(await verifyPassword(hash, "x".repeat(1023))).toBe(false);
  });
});

describe("a stored hash", () => {
  test.each([weakArgon2, bcryptHash])("%s verifies and needs a rehash", async (hash) => {
    expect(await verifyPassword(hash, "password")).toBe(true);
    expect(await verifyPassword(hash, "passwore")).toBe(false);
    expect(needsRehash(hash, "password")).toBe(true);
  });

  test("of bcrypt counts 72 bytes and is then kept", async () => {
    const hash = "$2b$04$DR3aoWP.AwUXsNf5c23tceithpasOR0Qjhb0gsfgHTYkVhBKUJlTe";
    expect(await verifyPassword(hash, "ü".repeat(36) + "anything")).toBe(true);
    expect(await verifyPassword(hash, "ü".repeat(35) + "uu")).toBe(false);
    expect(needsRehash(hash, "ü".repeat(36))).toBe(true);
    expect(needsRehash(hash, "ü".repeat(36) + "x")).toBe(false);
  });

  test.each([bcryptHash, weakArgon2])("%s refuses a NUL", async (hash) => {
    expect(await verifyPassword(hash, "password\0")).toBe(false);
  });

  test.each([undefined, "", "password", "$argon2id$", "$2b$12$", "$2b$31$" + "a".repeat(53)])(
    "%s is a failed login",
    async (hash) => {
      expect(await verifyPassword(hash, "password")).toBe(false);
    },
  );
});

test.each([
  "$argon2id$v=19$m=65536,t=4,p=1$L7oXHhP3y+31BDhN5mKBiw$6Wy8/ERDszueWukMaxWecX5QSlC4J7eeqUNx+iis2TY",
  `$2b$10$${bcryptHash.slice(7)}`,
  "scrypt$32768$saltsaltsalt$8$1$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
  "pbkdf2_sha256$300000$saltsaltsalt$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
])("%s leaves libuv's threads to signatures", async (hash) => {
  let hashesDone = 0;
  const hashes = Array.from({ length: 12 }, async () => {
    await verifyPassword(hash, "password");
    hashesDone++;
  });
  // Like a signature it has one of four threads.
  await promisify(randomBytes)(32);
  expect(hashesDone).toBe(0);
  await Promise.all(hashes);
  expect(hashesDone).toBe(12);
});

describe("a decoy", () => {
  test("is computed for a password with a NUL too", async () => {
    const start = performance.now();
    expect(await verifyPassword(undefined, "a\0b", `$2b$12$${bcryptHash.slice(7)}`)).toBe(false);
    expect(performance.now() - start).toBeGreaterThan(20);
  });

  test("a NUL makes a password wrong and costs what the user's own hash costs", async () => {
    const start = performance.now();
    const cheap = "$2b$04$DR3aoWP.AwUXsNf5c23tceithpasOR0Qjhb0gsfgHTYkVhBKUJlTe";
    const own = `$2b$12$${bcryptHash.slice(7)}`;
    expect(await verifyPassword(own, "a\0b", cheap)).toBe(false);
    expect(performance.now() - start).toBeGreaterThan(20);
  });

  test("of another spelling is drawn anew, unless the two are one user", () => {
    const sample = [bcryptHash, weakArgon2];
    const differing = (usernameKey: (name: string) => string) => {
      const decoy = createDecoy(usernameKey);
      decoy.follow(sample, new Uint8Array(32));
      const familyOf = (name: string) => inspectHash(decoy.hashFor(name)).family;
      const names = Array.from({ length: 400 }, (_, i) => `user${i}`);
      return names.filter((name) => familyOf(name) !== familyOf(name.toUpperCase())).length;
    };
    expect(differing((name) => name)).toBeGreaterThan(150);
    expect(differing((name) => name)).toBeLessThan(250);
    expect(differing((name) => name.toLowerCase())).toBe(0);
  });

  test.each([bcryptHash, weakArgon2])("like %s has its family and cost, no more", (hash) => {
    const decoy = decoyLike(hash) ?? "";
    expect(decoy).not.toBe(hash);
    expect(inspectHash(decoy)).toEqual(inspectHash(hash));
  });

  test("is ours until it follows a collection, then in its proportions", () => {
    const decoy = createDecoy((name) => name);
    const key = new Uint8Array(32);
    const familyOf = (name: string) => inspectHash(decoy.hashFor(name)).family;
    const names = Array.from({ length: 400 }, (_, index) => `user${index}`);
    expect(new Set(names.map(familyOf))).toEqual(new Set(["argon2id"]));

    decoy.follow([bcryptHash, weakArgon2, "broken", bcryptHash, bcryptHash], key);
    const before = names.map(familyOf);
    const bcrypts = before.filter((family) => family === "bcrypt").length;
    expect(bcrypts / names.length).toBeCloseTo(0.75, 1);

    decoy.follow([bcryptHash, bcryptHash, bcryptHash, weakArgon2], key);
    expect(names.map(familyOf)).toEqual(before);
    decoy.follow([], key);
    expect(inspectHash(decoy.hashFor("user1")).cost).toEqual({ m: 19456, t: 2, p: 1 });
  });
});
