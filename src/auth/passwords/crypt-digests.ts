/**
 * The digests of crypt(3), phpass and Spring, which thread-worker.ts runs: no library computes them on bytes and
 * outside the event loop. Depends on node.
 */
import { createHmac, hash as digestOf } from "node:crypto";

type Algorithm = "md5" | "sha1" | "sha224" | "sha256" | "sha384" | "sha512";

const digest = (algorithm: Algorithm, ...parts: readonly Uint8Array[]): Buffer =>
  digestOf(algorithm, Buffer.concat(parts), "buffer");

/** `bytes` repeated up to `length` bytes. */
const repeated = (bytes: Uint8Array, length: number): Buffer => Buffer.alloc(length, bytes);

const itoa64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** crypt's base64: a group of bytes is a number, most significant first, and written least significant digit first. */
function encode(bytes: Uint8Array, groups: readonly number[][]): string {
  return groups
    .map((group) => {
      let value = group.reduce((sum, index) => sum * 256 + (bytes[index] ?? 0), 0);
      return Array.from({ length: Math.ceil((group.length * 8) / 6) }, () => {
        const digit = itoa64[value % 64];
        value = Math.floor(value / 64);
        return digit;
      }).join("");
    })
    .join("");
}

/** `count` groups of three byte positions `step` apart, each group rotated left by `turn(index)`. */
function interleaved(count: number, step: number, turn: (index: number) => number): number[][] {
  return Array.from({ length: count }, (_, index) =>
    [0, 1, 2].map((place) => index + step * ((place + turn(index)) % 3)),
  );
}

const md5Groups = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5], [11]];
const sha256Groups = [...interleaved(10, 10, (index) => 2 * index), [31, 30]];
const sha512Groups = [...interleaved(21, 21, (index) => index), [63]];
const sha1Groups = [
  [0, 1, 2],
  [3, 4, 5],
  [6, 7, 8],
  [9, 10, 11],
  [12, 13, 14],
  [15, 16, 17],
  [18, 19, 0],
];
const drupalGroups = Array.from({ length: 22 }, (_, group) =>
  group < 21 ? [group * 3 + 2, group * 3 + 1, group * 3] : [63],
);
const phpassGroups = [[2, 1, 0], [5, 4, 3], [8, 7, 6], [11, 10, 9], [14, 13, 12], [15]];

/** The rounds of md5-crypt and of the sha-crypts. */
function stretch(
  algorithm: Algorithm,
  start: Buffer,
  password: Uint8Array,
  salt: Uint8Array,
  rounds: number,
): Buffer {
  let state = start;
  for (let round = 0; round < rounds; round++) {
    const odd = round % 2 === 1;
    const parts: Uint8Array[] = [odd ? password : state];
    if (round % 3 !== 0) parts.push(salt);
    if (round % 7 !== 0) parts.push(password);
    parts.push(odd ? state : password);
    state = digest(algorithm, ...parts);
  }
  return state;
}

/** One part for each bit of the length, the lowest first. */
function byBit<T>(length: number, one: T, zero: T): T[] {
  const parts: T[] = [];
  for (let rest = length; rest > 0; rest >>= 1) parts.push(rest % 2 === 1 ? one : zero);
  return parts;
}

export function md5Crypt(password: Uint8Array, salt: Uint8Array, magic: string): string {
  const mixed = digest("md5", password, salt, password);
  const start = digest(
    "md5",
    password,
    Buffer.from(magic),
    salt,
    repeated(mixed, password.length),
    ...byBit(password.length, Buffer.alloc(1), password.subarray(0, 1)),
  );
  return encode(stretch("md5", start, password, salt, 1000), md5Groups);
}

export function shaCrypt(
  algorithm: "sha256" | "sha512",
  password: Uint8Array,
  salt: Uint8Array,
  rounds: number,
): string {
  const mixed = digest(algorithm, password, salt, password);
  const start = digest(
    algorithm,
    password,
    salt,
    repeated(mixed, password.length),
    ...byBit(password.length, mixed, password),
  );
  const p = digest(algorithm, ...Array.from({ length: password.length }, () => password));
  const s = digest(algorithm, ...Array.from({ length: 16 + (start[0] ?? 0) }, () => salt));
  const end = stretch(
    algorithm,
    start,
    repeated(p, password.length),
    repeated(s, salt.length),
    rounds,
  );
  return encode(end, algorithm === "sha256" ? sha256Groups : sha512Groups);
}

/** Begins with `start` and computes the digest of `next(state)` `rounds` times. */
function iterated(
  algorithm: Algorithm,
  start: Buffer,
  rounds: number,
  next: (state: Buffer) => Uint8Array[],
): Buffer {
  let state = start;
  for (let round = 0; round < rounds; round++) state = digest(algorithm, ...next(state));
  return state;
}

/** phpass with MD5, or Drupal's variant of it with SHA-512. */
export function phpass(
  algorithm: "md5" | "sha512",
  password: Uint8Array,
  salt: Uint8Array,
  rounds: number,
): string {
  const start = digest(algorithm, salt, password);
  const end = iterated(algorithm, start, rounds, (state) => [state, password]);
  return encode(end, algorithm === "md5" ? phpassGroups : drupalGroups);
}

/** The digest of salt and password, hashed again until it was hashed `rounds` times; Spring's and Shiro's. */
export function saltedDigest(
  algorithm: Algorithm,
  password: Uint8Array,
  salt: Uint8Array,
  rounds: number,
): Buffer {
  const start = digest(algorithm, salt, password);
  return iterated(algorithm, start, rounds - 1, (state) => [state]);
}

export function sha1Crypt(password: Uint8Array, salt: Uint8Array, rounds: number): string {
  const hmac = (message: Uint8Array) => createHmac("sha1", password).update(message).digest();
  let state = hmac(Buffer.concat([salt, Buffer.from(`$sha1$${rounds}`)]));
  for (let round = 1; round < rounds; round++) state = hmac(state);
  return encode(state, sha1Groups);
}
