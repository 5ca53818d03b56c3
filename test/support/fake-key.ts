import { generateKeyPairSync } from "node:crypto";
import type { RsaPrivateKey } from "../../src/auth/keys/rsa.js";

const anyKey = generateKeyPairSync("ed25519");

/** A key with a name and modulus of its own that cannot sign: generating a real one takes long. */
export function fakeKey(index: number): RsaPrivateKey {
  const modulus = Buffer.alloc(256, 0xff);
  modulus.writeUInt32BE(index, 4);
  return { kid: `key-${index}`, n: modulus.toString("base64url"), e: "AQAB", ...anyKey };
}
