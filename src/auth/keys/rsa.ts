/**
 * RSA keys as this service uses them: which are accepted, and how they are named and made. Depends
 * on jose and node:crypto.
 */
import { createPublicKey, generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
// Importing all of jose takes 20 ms of every start.
import { calculateJwkThumbprint } from "jose/jwk/thumbprint";
import { exportJWK } from "jose/key/export";

/** A public key with its name; `n` and `e` as in a JWK (RFC 7518 section 6.3.1). */
export interface RsaKey {
  /** RFC 7638 thumbprint. */
  readonly kid: string;
  readonly n: string;
  readonly e: string;
  readonly publicKey: KeyObject;
}

export interface RsaPrivateKey extends RsaKey {
  readonly privateKey: KeyObject;
}

const bitsMin = 2048;
const exponentMin = 65_537n;

/** Why the key is not fit for RS256; each fault completes "the key …". */
export function rsaKeyFaults(key: KeyObject): string[] {
  if (key.asymmetricKeyType !== "rsa") {
    return [`is not an RSA key but ${key.asymmetricKeyType ?? key.type}`];
  }
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  const faults: string[] = [];
  if (modulusLength < bitsMin) faults.push(`has ${modulusLength} bits; ${bitsMin} is the least`);
  if (publicExponent < exponentMin) {
    faults.push(`has the public exponent ${publicExponent}; ${exponentMin} is the least`);
  }
  return faults;
}

export async function toRsaKey(publicKey: KeyObject): Promise<RsaKey> {
  const { n = "", e = "" } = await exportJWK(publicKey);
  return { kid: await calculateJwkThumbprint({ kty: "RSA", n, e }), n, e, publicKey };
}

export async function toRsaPrivateKey(privateKey: KeyObject): Promise<RsaPrivateKey> {
  return { ...(await toRsaKey(createPublicKey(privateKey))), privateKey };
}

/** A new key, made on libuv's threads. */
export async function generateRsaKey(bits: number): Promise<RsaPrivateKey> {
  const pair = await promisify(generateKeyPair)("rsa", {
    modulusLength: bits,
    publicExponent: Number(exponentMin),
  });
  return toRsaPrivateKey(pair.privateKey);
}
