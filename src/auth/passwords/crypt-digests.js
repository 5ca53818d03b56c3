// @ts-check
/**
 * The digests of crypt(3), phpass and Spring that no library computes as they need it. For
 * thread-worker.js, and plain JavaScript as that is. Depends on node:crypto.
 */
import { hash as digestOf } from "node:crypto";

/** @typedef {"md5" | "sha256" | "sha512"} Algorithm */

/** @type {(algorithm: Algorithm, ...parts: Uint8Array[]) => Buffer} */
const digest = (algorithm, ...parts) => digestOf(algorithm, Buffer.concat(parts), "buffer");

/**
 * The first `length` bytes of `bytes` repeated.
 * @type {(bytes: Uint8Array, length: number) => Buffer}
 */
const repeated = (bytes, length) => Buffer.alloc(length, bytes);

const itoa64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/**
 * crypt's base64: groups of bytes, most significant first, written least significant digit first.
 * @type {(bytes: Uint8Array, groups: number[][]) => string}
 */
function encode(bytes, groups) {
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

/**
 * `count` groups of three bytes `step` apart, each turned left by `turn(index)`.
 * @type {(count: number, step: number, turn: (index: number) => number) => number[][]}
 */
function interleaved(count, step, turn) {
  return Array.from({ length: count }, (_, index) =>
    [0, 1, 2].map((place) => index + step * ((place + turn(index)) % 3)),
  );
}

const md5Groups = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5], [11]];
const sha256Groups = [...interleaved(10, 10, (index) => 2 * index), [31, 30]];
const sha512Groups = [...interleaved(21, 21, (index) => index), [63]];
const phpassGroups = [[2, 1, 0], [5, 4, 3], [8, 7, 6], [11, 10, 9], [14, 13, 12], [15]];

/**
 * The rounds that both md5-crypt and the sha-crypts have.
 * @type {(algorithm: Algorithm, start: Buffer, password: Uint8Array, salt: Uint8Array, rounds: number) => Buffer}
 */
function stretch(algorithm, start, password, salt, rounds) {
  let state = start;
  for (let round = 0; round < rounds; round++) {
    const odd = round % 2 === 1;
    /** @type {Uint8Array[]} */
    const parts = [odd ? password : state];
    if (round % 3 !== 0) parts.push(salt);
    if (round % 7 !== 0) parts.push(password);
    parts.push(odd ? state : password);
    state = digest(algorithm, ...parts);
  }
  return state;
}

/** One part for each bit of the length, the lowest first. @type {<T>(length: number, one: T, zero: T) => T[]} */
function byBit(length, one, zero) {
  const parts = [];
  for (let rest = length; rest > 0; rest >>= 1) parts.push(rest % 2 === 1 ? one : zero);
  return parts;
}

/** @type {(password: Uint8Array, salt: Uint8Array, magic: string) => string} */
export function md5Crypt(password, salt, magic) {
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

/** @type {(algorithm: "sha256" | "sha512", password: Uint8Array, salt: Uint8Array, rounds: number) => string} */
export function shaCrypt(algorithm, password, salt, rounds) {
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

/**
 * A digest of salt and password, then `rounds` times one of `next(state)`.
 * @type {(algorithm: Algorithm, start: Buffer, rounds: number, next: (state: Buffer) => Uint8Array[]) => Buffer}
 */
function iterated(algorithm, start, rounds, next) {
  let state = start;
  for (let round = 0; round < rounds; round++) state = digest(algorithm, ...next(state));
  return state;
}

/** @type {(password: Uint8Array, salt: Uint8Array, rounds: number) => string} */
export function phpass(password, salt, rounds) {
  const start = digest("md5", salt, password);
  return encode(
    iterated("md5", start, rounds, (state) => [state, password]),
    phpassGroups,
  );
}

/** @type {(password: Uint8Array, salt: Uint8Array) => string} */
export function springSha256(password, salt) {
  const start = digest("sha256", salt, password);
  return iterated("sha256", start, 1023, (state) => [state]).toString("hex");
}
