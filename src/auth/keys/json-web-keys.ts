/**
 * RSA keys from a JWK or JWKS (RFC 7517). Depends on its neighbour, jose and node:crypto.
 */
import { KeyObject, type webcrypto } from "node:crypto";
import { attempt, fail } from "./key-file-error.js";

type Jwk = Readonly<Record<string, unknown>>;

export interface NamedKey {
  readonly key: KeyObject;
  /** The one in the file, if there is one. */
  readonly kid?: string;
  readonly issuer?: string;
}

/** The members of a JWKS, or a single JWK; undefined if the file is not JSON. */
export function parseJwks(bytes: Uint8Array): readonly unknown[] | undefined {
  const json = attempt(() => JSON.parse(new TextDecoder().decode(bytes)) as unknown);
  if (typeof json !== "object" || json === null) return undefined;
  const keys: unknown = Object.hasOwn(json, "keys") ? (json as Jwk)["keys"] : [json];
  if (!Array.isArray(keys)) fail("the member keys of the JWKS is not an array");
  return keys as unknown[];
}

export const isPrivateJwk = (jwk: unknown): jwk is Jwk =>
  typeof jwk === "object" && jwk !== null && "d" in jwk;

/** The keys that can verify RS256. @throws KeyFileError if there is none. */
export async function publicKeysOf(jwks: readonly unknown[]): Promise<NamedKey[]> {
  const usable = jwks.filter(isRs256Jwk);
  if (usable.length === 0) fail("the JWKS has no RSA key that could verify RS256");
  return Promise.all(usable.map(importKey));
}

/** The only private key. @throws KeyFileError if there is none, or more than one. */
export async function privateKeyOf(jwks: readonly unknown[]): Promise<NamedKey> {
  const [jwk, second] = jwks.filter(isPrivateJwk);
  if (!jwk) fail("a private key is needed, and there are only public ones");
  if (second) fail("there is more than one private key");
  if (jwk["kty"] !== "RSA") fail("the key is not an RSA key");
  return importKey("p" in jwk ? jwk : withPrimes(jwk));
}

/** RFC 7517 section 5: keys of other types and for other uses are skipped. */
function isRs256Jwk(jwk: unknown): jwk is Jwk {
  if (typeof jwk !== "object" || jwk === null) return false;
  const { kty, use = "sig", alg = "RS256", key_ops: operations = ["verify"] } = jwk as Jwk;
  const verifies = Array.isArray(operations) && operations.includes("verify");
  return kty === "RSA" && use === "sig" && alg === "RS256" && verifies;
}

/**
 * Adds what RFC 7518 section 6.3.2 lets a file leave out: the primes, found from the exponents as
 * in NIST SP 800-56B appendix C, and the values that follow from them.
 */
function withPrimes(jwk: Jwk): Jwk {
  const [n, e, d] = ["n", "e", "d"].map((name) => toInteger(jwk[name])) as [bigint, bigint, bigint];
  const p = primeOf(n, e * d - 1n);
  const q = n / p;
  const [dp, dq, qi] = [d % (p - 1n), d % (q - 1n), power(q, p - 2n, p)];
  const crt = Object.entries({ p, q, dp, dq, qi });
  return { ...jwk, ...Object.fromEntries(crt.map(([name, value]) => [name, toBase64url(value)])) };
}

function primeOf(n: bigint, multiple: bigint): bigint {
  let odd = multiple;
  while (odd > 0n && odd % 2n === 0n) odd /= 2n;
  // Each base finds a factor of a sound key with probability one half.
  for (let base = 2n; base < 100n && n > 1n && odd > 0n; base++) {
    let root = power(base, odd, n);
    for (let exponent = odd; exponent < multiple; exponent *= 2n) {
      const square = (root * root) % n;
      if (square === 1n && root !== 1n && root !== n - 1n) return divisor(root - 1n, n);
      root = square;
    }
  }
  fail("the key is damaged: its private and public parts do not fit together");
}

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  for (const bit of exponent.toString(2)) {
    result = (result * result) % modulus;
    if (bit === "1") result = (result * base) % modulus;
  }
  return result;
}

const divisor = (a: bigint, b: bigint): bigint => (b === 0n ? a : divisor(b, a % b));

function toInteger(value: unknown): bigint {
  const hex = typeof value === "string" ? Buffer.from(value, "base64url").toString("hex") : "";
  return BigInt(`0x${hex || "0"}`);
}

function toBase64url(value: bigint): string {
  const hex = value.toString(16);
  return Buffer.from(hex.padStart(hex.length + (hex.length % 2), "0"), "hex").toString("base64url");
}

const keyParts = new Set(["kty", "n", "e", "d", "p", "q", "dp", "dq", "qi"]);

async function importKey(jwk: Jwk): Promise<NamedKey> {
  const { importJWK } = await import("jose/key/import");
  const { kid, iss } = jwk;
  const parts = Object.fromEntries(Object.entries(jwk).filter(([name]) => keyParts.has(name)));
  const imported = await importJWK(parts, "RS256", { extractable: true }).catch(() =>
    fail("an RSA key of the JWKS cannot be parsed"),
  );
  if (iss !== undefined && typeof iss !== "string") fail("the member iss of a JWK is not a string");
  return {
    key: KeyObject.from(imported as webcrypto.CryptoKey),
    ...(typeof kid === "string" && { kid }),
    ...(iss !== undefined && { issuer: iss }),
  };
}
