/** Key material made once for a test file, and a key set of it. */
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { AuthError } from "../../src/auth/errors.js";
import type { Ring } from "../../src/auth/keys/ring.js";
import type { KeySet, VerificationKey } from "../../src/auth/keys/key-set.js";

export interface TestKey extends VerificationKey {
  readonly privateKey: KeyObject;
}

export function newKey(kid: string, options: { legacy?: boolean; issuer?: string } = {}): TestKey {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const { legacy = false, issuer } = options;
  return { kid, privateKey, publicKey, legacy, ...(issuer !== undefined && { issuer }) };
}

/** The stored document of one managed key, which signs. */
export function ringOf(kid: string, privateKey: KeyObject): string {
  const { n = "", e = "" } = privateKey.export({ format: "jwk" });
  const pkcs8 = privateKey.export({ type: "pkcs8", format: "der" }).toString("base64url");
  const state = { state: "signing", since: Date.now(), readyAt: 0, tokenSeconds: 7210 } as const;
  const keys = [{ kid, n, e, ...state, privateKey: `pkcs8:${pkcs8}` }];
  const ring: Ring = { format: 1, cacheSeconds: 3900, rotateRequested: false, keys, revoked: [] };
  return JSON.stringify(ring);
}

/** A key set that signs with the first key and verifies with all. */
export function keySetOf(...keys: readonly TestKey[]): KeySet {
  return {
    signingKey() {
      const [key] = keys;
      if (key === undefined) throw new AuthError("store_unavailable", "no key");
      return Promise.resolve(key);
    },
    verificationKeys: (kid) =>
      Promise.resolve(keys.filter((key) => (kid === undefined ? key.legacy : key.kid === kid))),
    published: () => Promise.resolve(undefined),
  };
}
