/** Key material made once for a test file, and a key set of it. */
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { AuthError } from "../../src/auth/errors.js";
import type { KeySet, VerificationKey } from "../../src/auth/keys/keys.js";

export interface TestKey extends VerificationKey {
  readonly privateKey: KeyObject;
}

export function newKey(kid: string, options: { legacy?: boolean; issuer?: string } = {}): TestKey {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const { legacy = false, issuer } = options;
  return { kid, privateKey, publicKey, legacy, ...(issuer !== undefined && { issuer }) };
}

/** A key set that signs with the first of the keys and verifies with all. */
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
