/** Every family against hashes that others made; test/vectors/README.md says who and how. */
import { describe, expect, test } from "@jest/globals";
import {
  decoyLike,
  inspectHash,
  needsRehash,
  verifyPassword,
} from "../../src/auth/passwords/passwords.js";
import * as encodings from "../../src/auth/passwords/encodings.js";
import { families, familiesTable } from "../../src/auth/passwords/families.js";
import { hashVectors, type HashVector } from "../support/hash-vectors.js";

/** The password with one bit changed: in its last character, or the last that plain bcrypt reads. */
function altered({ family, password }: HashVector): string {
  const at = password.length - (isPlainBcrypt(family) && bytesOf(password) > 72 ? 2 : 1);
  const character = String.fromCharCode(password.charCodeAt(at) ^ 1);
  return password.slice(0, at) + character + password.slice(at + 1);
}

const isPlainBcrypt = (family: string) => ["bcrypt", "bcrypt (AdonisJS)"].includes(family);
const bytesOf = (password: string) => Buffer.byteLength(password);

describe.each(families.map(({ name }) => name))("%s", (name) => {
  const ofFamily = hashVectors.filter(({ family }) => family === name);

  test("has vectors by another's hand, of 71, 72 and 73 bytes too", () => {
    const lengths = ofFamily.map(({ password }) => bytesOf(password));
    expect(lengths).toEqual(expect.arrayContaining([71, 72, 73]));
  });

  test.each(ofFamily)("$by: $password", async (vector) => {
    const { hash, password } = vector;
    expect(inspectHash(hash)).toMatchObject({ family: name, verdict: "ok" });
    expect(await verifyPassword(hash, password)).toBe(true);
    expect(await verifyPassword(hash, altered(vector))).toBe(false);
    const hasOtherForms = name === "scrypt (better-auth)" && /[^ -~]/.test(password);
    expect(needsRehash(hash, password)).toBe(
      !(isPlainBcrypt(name) && bytesOf(password) > 72) && !hasOtherForms,
    );
  });

  test("reads past 72 bytes unless it is bcrypt, and never past a NUL", async () => {
    for (const { hash, password } of ofFamily.filter((_, index) => index % 5 === 3)) {
      const more = await verifyPassword(hash, `${password}!`);
      expect(more).toBe(isPlainBcrypt(name) && bytesOf(password) >= 72);
      expect(await verifyPassword(hash, `${password}\0`)).toBe(false);
    }
  });

  test("has decoys of the same cost that let nobody in", async () => {
    for (const { hash, password } of ofFamily.filter((_, index) => index % 5 === 0)) {
      const decoy = decoyLike(hash) ?? "";
      expect(decoy).toHaveLength(hash.length);
      expect(inspectHash(decoy)).toEqual(inspectHash(hash));
      expect(await verifyPassword(decoy, password)).toBe(false);
    }
  });
});

test("every vector is of a family in the table", () => {
  const names = families.map(({ name }) => name);
  expect(hashVectors.filter(({ family }) => !names.includes(family))).toEqual([]);
});

test("the frameworks' defaults are under the ceilings", () => {
  const digest = "a".repeat(42) + "M";
  const salt22 = "c2FsdHNhbHRzYWx0c2FsdA";
  for (const hash of [
    `$argon2id$v=19$m=65536,t=3,p=4$${salt22}$${digest}`, // passlib, argon2-cffi, Node
    `argon2$argon2id$v=19$m=102400,t=2,p=8$${salt22}$${digest}`, // Django
    `$argon2id$v=19$m=65536,t=4,p=1$${salt22}$${digest}`, // PHP
    `$argon2id$v=19$m=131072,t=1,p=2$${salt22}$${digest}`, // Ory Kratos
    `$argon2id$v=19$m=7168,t=5,p=1$${salt22}$${digest}`, // Keycloak
    `$2b$12$${"a".repeat(21)}O${"a".repeat(31)}`, // Devise, PHP 8.4, passlib
    `$scrypt$ln=16,r=8,p=1$${salt22}$${digest}`, // passlib
    `$scrypt$ln=17,r=8,p=1$${salt22}$${digest}`, // OWASP
    `scrypt$16384$salt$8$5$${"a".repeat(86)}==`, // Django
    `pbkdf2_sha256$1500000$salt$${"a".repeat(43)}=`, // Django 6.1
    `$pbkdf2-sha512$i=210000$${salt22}$${"a".repeat(86)}==`, // Keycloak
    `$6$rounds=656000$salt$${"a".repeat(86)}`, // passlib
    `$P$H${"a".repeat(30)}`, // passlib
  ]) {
    expect([hash, inspectHash(hash).verdict]).toEqual([hash, "ok"]);
  }
});

test("what Latchkey wrote into an adopted field stays as it is", () => {
  const hash = `$argon2id$v=19$m=19456,t=2,p=1$…$…`;
  expect(encodings.meteorHash(hash)).toBe(hash);
  expect(encodings.passportLocalMongooseHash(hash, "salt")).toBe(hash);
  expect(encodings.betterAuthHash(hash)).toBe(hash);
  expect(encodings.payloadHash(hash, "salt")).toBe(hash);
});

test.each([
  ["not JSON", "{}"],
  ["{}", "{}"],
  ["null", "null"],
  ['{"algorithm":"argon2"}', '{"salt":"a","value":"b"}'],
])("a Keycloak credential %s is no hash", (credentialData, secretData) => {
  const hash = encodings.keycloakHash(credentialData, secretData) ?? "";
  expect(inspectHash(hash).verdict).toBe("unusable");
});

test("the table for the documentation has a row for each family", () => {
  expect(familiesTable().split("\n")).toHaveLength(families.length + 2);
});
