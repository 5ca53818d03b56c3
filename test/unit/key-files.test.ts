import { describe, expect, test } from "@jest/globals";
import { readFileSync } from "node:fs";
import {
  KeyFileError,
  keyFileWarning,
  loadAnyKeys,
  loadSigningKey,
  loadTrustedKeys,
} from "../../src/auth/keys/keys.js";

/** Files that test/support/key-vectors/make.sh made with openssl and Python's cryptography. */
const vector = (name: string) =>
  readFileSync(new URL(`../support/key-vectors/${name}`, import.meta.url));
const thumbprints = JSON.parse(vector("thumbprints.json").toString()) as Record<string, string>;

async function faultOf(loading: Promise<unknown>): Promise<string> {
  const error: unknown = await loading.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(KeyFileError);
  return (error as Error).message;
}

describe("loadSigningKey", () => {
  test.each([
    ["pkcs8.pem", "pkcs8"],
    ["pkcs8.der", "pkcs8"],
    ["pkcs1.pem", "pkcs8"],
    ["pkcs1.der", "pkcs8"],
    ["matched.pem", "pkcs8"],
    ["python.pem", "python"],
    ["private-jwk.json", "pkcs8"],
  ])("%s", async (name, key) => {
    const loaded = await loadSigningKey(vector(name));
    expect(loaded.kid).toBe(thumbprints[key]);
    expect(loaded.privateKey.type).toBe("private");
  });

  test.each([
    ["spki.pem", "a private key is needed, and there are only public ones"],
    ["certificate.pem", "a private key is needed, and there are only public ones"],
    ["public-pkcs1.der", "a private key is needed, and this is a public one"],
    ["certificate.der", "a private key is needed, and this is a public one"],
    ["encrypted-pkcs8.pem", /passphrase/],
    ["encrypted-pkcs8.der", /passphrase/],
    ["encrypted-pkcs1.pem", /passphrase/],
    ["short.pem", "the key has 1024 bits; 2048 is the least"],
    ["exponent.pem", "the key has the public exponent 3; 65537 is the least"],
    ["pss.pem", "the key is not an RSA key but rsa-pss"],
    ["ec.pem", "the key is not an RSA key but ec"],
    ["mismatched.pem", "the certificate belongs to another key"],
    ["damaged.der", "the key is damaged: its private and public parts do not fit together"],
    ["jwk.json", "a private key is needed, and there are only public ones"],
    ["make.sh", "this is no private key in PKCS#8 or PKCS#1, PEM or DER, and no JWK"],
  ])("%s is refused", async (name, fault) => {
    expect(await faultOf(loadSigningKey(vector(name)))).toMatch(fault);
  });

  test("two private keys, cut off and empty files", async () => {
    const two = Buffer.concat([vector("pkcs8.pem"), vector("python.pem")]);
    expect(await faultOf(loadSigningKey(two))).toBe("there is more than one private key");
    const cut = vector("pkcs8.pem")
      .toString()
      .replace(/^(.{900}).*(?=-----END)/s, "$1\n");
    const fault = await faultOf(loadSigningKey(Buffer.from(cut)));
    expect(fault).toBe("the PRIVATE KEY cannot be parsed");
    for (const empty of ["", "\n", "-----BEGIN PRIVATE KEY-----\n"]) {
      expect(await faultOf(loadSigningKey(Buffer.from(empty)))).toMatch("this is no private key");
    }
  });
});

describe("loadTrustedKeys", () => {
  test.each([
    ["spki.pem", 1],
    ["spki.der", 1],
    ["public-pkcs1.pem", 1],
    ["public-pkcs1.der", 1],
    ["certificate.pem", 1],
    ["certificate.der", 1],
    ["jwk.json", 1],
    ["many.pem", 3],
  ])("%s", async (name, count) => {
    const keys = await loadTrustedKeys(vector(name));
    expect(keys.map((key) => key.kid)).toEqual(Array(count).fill(thumbprints["pkcs8"]));
    expect(keys.map((key) => key.publicKey.type)).toEqual(Array(count).fill("public"));
  });

  test("a JWKS keeps the names and issuers of its keys and passes over what is not for RS256", async () => {
    const keys = await loadTrustedKeys(vector("jwks.json"));
    expect(keys.map(({ kid, issuer }) => [kid, issuer])).toEqual([
      ["old-1", "https://old.example"],
      [thumbprints["python"], undefined],
    ]);
  });

  test("a byte order mark before the JSON", async () => {
    const file = Buffer.concat([Buffer.from("\ufeff"), vector("jwk.json")]);
    expect(await loadTrustedKeys(file)).toHaveLength(1);
  });

  test.each([
    ["pkcs8.pem", /must be public/],
    ["pkcs1.der", /must be public/],
    ["encrypted-pkcs8.der", /must be public/],
    ["private-jwk.json", /must be public/],
    ["other-certificate.pem", "key 1 is not an RSA key but ec"],
    ["make.sh", "this is no public key, certificate or JWKS"],
  ])("%s is refused", async (name, fault) => {
    expect(await faultOf(loadTrustedKeys(vector(name)))).toMatch(fault);
  });

  test.each([
    ['{"keys":{}}', /not an array/],
    ['{"keys":[]}', /no RSA key/],
    ['{"keys":[null,{"kty":"oct","k":"AA"}]}', /no RSA key/],
    ['{"keys":[{"kty":"RSA","n":"AQAB"}]}', /cannot be parsed/],
    ['{"keys":[{"kty":"RSA","n":"AQAB","e":"Aw"}]}', /key 1 has 17 bits.*key 1 has the public/],
    ["[]", /no RSA key/],
  ])("%s is refused", async (json, fault) => {
    expect(await faultOf(loadTrustedKeys(Buffer.from(json)))).toMatch(fault);
  });
});

test("loadAnyKeys tells private files from public ones", async () => {
  for (const name of ["pkcs8.pem", "pkcs1.der", "matched.pem"]) {
    expect(await loadAnyKeys(vector(name))).toHaveProperty("signing.kid", thumbprints["pkcs8"]);
  }
  for (const name of ["spki.der", "certificate.pem", "jwks.json"]) {
    expect(await loadAnyKeys(vector(name))).toHaveProperty("trusted");
  }
  expect(await faultOf(loadAnyKeys(vector("encrypted-pkcs8.der")))).toMatch(/passphrase/);
});

test("no fault holds text of the file", async () => {
  const text = vector("private-jwk.json").toString();
  const fault = await faultOf(loadTrustedKeys(Buffer.from(text.replace("}", ""))));
  expect(fault).toBe("this is no public key, certificate or JWKS");
});

test.each([
  [0o100600, undefined],
  [0o100640, undefined],
  [0o100644, /mode 644/],
  [0o100602, /mode 602/],
])("permissions %o", (mode, warning) => {
  if (warning) expect(keyFileWarning({ mode })).toMatch(warning);
  else expect(keyFileWarning({ mode })).toBeUndefined();
});
