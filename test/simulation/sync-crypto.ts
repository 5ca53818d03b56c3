/**
 * Signatures without the thread pool, whose answers come at no certain time. The keys are short, so that a
 * million steps fit into seconds.
 */
import * as crypto from "node:crypto";

type Done = (error: null, signature: Buffer) => void;

/** What code finds in place of `node:crypto`. */
export const syncCrypto = {
  ...crypto,
  sign(algorithm: string, data: Buffer, key: crypto.KeyLike, done?: Done) {
    const signature = crypto.sign(algorithm, data, key);
    if (done) queueMicrotask(() => done(null, signature));
    return signature;
  },
};

interface Key {
  readonly key: crypto.KeyObject;
}

const asKey = (key: crypto.KeyObject) => ({
  key,
  type: key.type,
  extractable: false,
  usages: ["verify"],
  // Of the length that jose asks for.
  algorithm: { name: "RSASSA-PKCS1-v1_5", hash: { name: "SHA-256" }, modulusLength: 2048 },
  [Symbol.toStringTag]: "CryptoKey",
});

/** What code finds in place of the global `crypto`: what jose needs to verify RS256, and HMAC-SHA-256. */
export const syncWebCrypto = {
  getRandomValues: <T extends Uint8Array>(bytes: T): T => crypto.webcrypto.getRandomValues(bytes),
  subtle: {
    importKey: (form: string, data: object) =>
      Promise.resolve(
        asKey(
          form === "jwk"
            ? crypto.createPublicKey({ key: data as crypto.JsonWebKey, format: "jwk" })
            : crypto.createSecretKey(data as Uint8Array),
        ),
      ),
    verify: (_: unknown, { key }: Key, signature: Uint8Array, data: Uint8Array) =>
      Promise.resolve(crypto.verify("RSA-SHA256", data, key, signature)),
    sign: (_: unknown, { key }: Key, data: Uint8Array) =>
      Promise.resolve(crypto.createHmac("sha256", key).update(data).digest()),
  },
};

const bits = 512;

/** A real key pair, with a name of its own. */
export function shortKey() {
  const { privateKey, publicKey } = crypto.generateKeyPairSync("rsa", { modulusLength: bits });
  const { n = "", e = "" } = publicKey.export({ format: "jwk" });
  const kid = crypto.createHash("sha256").update(n).digest("base64url");
  return { kid, n, e, privateKey, publicKey };
}
