/** Tokens by a key that an operator brought as a file, however it came, may be an old server's. */
import { createPrivateKey, createPublicKey } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "@jest/globals";
import { SignJWT } from "jose";
import { parseConfig } from "../../src/config/config.js";
import { createManagedKeys, readKeyMaterial } from "../../src/app/key-material.js";
import { loadSigningKey } from "../../src/auth/keys/keys.js";
import { openStore } from "../../src/store/open-store.js";
import { makeCertificate, newRsaKey } from "../support/certificates.js";
import { ringOf } from "../support/keys.js";
import { startService } from "../support/service.js";

const vectors = new URL("../support/key-vectors/", import.meta.url).pathname;
const bytes = readFileSync(`${vectors}pkcs8.pem`);
const privateKey = createPrivateKey(bytes);
const { pkcs8: kid } = JSON.parse(readFileSync(`${vectors}thumbprints.json`, "utf8")) as {
  pkcs8: string;
};

const folder = mkdtempSync(join(tmpdir(), "latchkey-file-keys-"));
afterAll(() => rmSync(folder, { recursive: true }));

const file = (name: string, content: string) => {
  writeFileSync(join(folder, name), content, { mode: 0o600 });
  return join(folder, name);
};
const SIGNING_KEY_FILE = file("private.pem", bytes.toString());
const spki = createPublicKey(privateKey).export({ type: "spki", format: "pem" }).toString();
const TRUSTED_KEYS_FILE = file("public.pem", spki);
const { n = "", e = "" } = privateKey.export({ format: "jwk" });
const old = { kty: "RSA", n, e, kid: "old-1", iss: "https://old.example" };
const oldJwks = file("jwks.json", JSON.stringify({ keys: [old] }));

const now = Math.floor(Date.now() / 1000);
const audience = "api";
const claims = {
  ...{ sub: "1", iss: "NomicGameManager.Api", exp: now + 3600, iat: now - 5 },
  ...{ jti: "a", auth_time: now - 5, aud: audience },
};
type Lacking = "kid" | "jti" | "aud" | "auth_time" | "typ";
const lacks: readonly (readonly Lacking[])[] = [
  ...([[], ["kid"], ["jti"], ["aud"], ["auth_time"], ["typ"]] as const),
  ["kid", "jti", "aud", "auth_time", "typ"],
];
function tokenWithout(
  lacking: readonly Lacking[],
  changes = {},
  header = {},
  key = privateKey,
): Promise<string> {
  const present = ([name, value]: [string, unknown]) =>
    value !== undefined && !lacking.some((each) => each === name);
  const kept = Object.entries({ ...claims, ...changes }).filter(present);
  const head = Object.entries({ typ: "JWT", kid, ...header }).filter(present);
  return new SignJWT(Object.fromEntries(kept))
    .setProtectedHeader({ ...Object.fromEntries(head), alg: "RS256" })
    .sign(key);
}

async function dataDirWith(
  prepare: (store: Awaited<ReturnType<typeof openStore>>, dir: string) => Promise<unknown>,
): Promise<string> {
  const dir = mkdtempSync(join(folder, "data-"));
  const store = await openStore(parseConfig({ DATA_DIR: dir }));
  await prepare(store, dir);
  await store.close();
  return dir;
}

const imported = (sign: boolean) => () =>
  dataDirWith(async (store, dir) => {
    const config = parseConfig({ DATA_DIR: dir });
    const keyMaterial = await readKeyMaterial(config);
    const clock = { now: Date.now, monotonic: () => performance.now() };
    const keys = createManagedKeys({ config, store, keyMaterial }, clock);
    await keys.import({ key: await loadSigningKey(bytes), sign });
  });

type Env = Record<string, string>;
const sources: readonly (readonly [string, () => Env | Promise<Env>])[] = [
  ["SIGNING_KEY_FILE", () => ({ SIGNING_KEY_FILE })],
  ["TRUSTED_KEYS_FILE", () => ({ TRUSTED_KEYS_FILE })],
  ["both, the same key", () => ({ SIGNING_KEY_FILE, TRUSTED_KEYS_FILE })],
  ["both, once for another issuer", () => ({ SIGNING_KEY_FILE, TRUSTED_KEYS_FILE: oldJwks })],
  ["keys import", async () => ({ DATA_DIR: await imported(false)() })],
  ["keys import --sign", async () => ({ DATA_DIR: await imported(true)() })],
];

async function statusesOf(env: Env, tokens: readonly string[]): Promise<number[]> {
  const service = await startService({ TOKEN_AUDIENCE: audience, ...env });
  try {
    const statuses: number[] = [];
    for (const token of tokens) {
      const headers = { authorization: `Bearer ${token}` };
      const url = `${service.url}/api/auth/token`;
      statuses.push((await fetch(url, { method: "POST", headers })).status);
    }
    return statuses;
  } finally {
    await service.close();
  }
}

describe.each(sources)("a key of %s", (_, env) => {
  test("its tokens may lack what old servers did not write; what they have must be right", async () => {
    const wrong = [
      { aud: "other" },
      { iss: "other" },
      { exp: undefined },
      { iat: undefined },
      { exp: now - 60 },
      { nbf: now + 60 },
      { iat: now + 60 },
      // Without auth_time the session began when the token was issued.
      { auth_time: undefined, iat: now - 31 * 86_400 },
    ];
    const tokens = await Promise.all([
      ...lacks.map((lacking) => tokenWithout(lacking)),
      ...wrong.map((changes) => tokenWithout(["jti"], changes)),
    ]);
    const expected = [...lacks.map(() => 200), ...wrong.map(() => 403)];
    expect(await statusesOf(await env(), tokens)).toEqual(expected);
  });
});

test("a managed key's tokens have everything", async () => {
  const DATA_DIR = await dataDirWith((store) => store.keys.save(ringOf(kid, privateKey), 0));
  const tokens = await Promise.all(lacks.map((lacking) => tokenWithout(lacking)));
  expect(await statusesOf({ DATA_DIR }, tokens)).toEqual([200, 403, 403, 403, 403, 200, 403]);
});

test("one key for two issuers: each under its own id and without one", async () => {
  const iss = "https://old.example";
  const tokens = await Promise.all([
    tokenWithout([], { iss }, { kid: "old-1" }),
    tokenWithout(["kid", "aud"], { iss }),
    tokenWithout(["kid"]),
    // Under our id the key signs for us alone.
    tokenWithout([], { iss }),
  ]);
  const env = { SIGNING_KEY_FILE, TRUSTED_KEYS_FILE: oldJwks };
  expect(await statusesOf(env, tokens)).toEqual([200, 200, 200, 403]);
});

test("the authority of a trusted certificate issues no tokens", async () => {
  const authority = makeCertificate("authority", undefined, newRsaKey);
  const leaf = makeCertificate("leaf", authority, newRsaKey);
  const chain = file("chain.pem", leaf.cert + authority.cert);
  const tokens = await Promise.all(
    [leaf, authority].map(({ key }) => tokenWithout(["kid"], {}, {}, createPrivateKey(key))),
  );
  expect(await statusesOf({ TRUSTED_KEYS_FILE: chain }, tokens)).toEqual([200, 403]);
});
