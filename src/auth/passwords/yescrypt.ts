/**
 * yescrypt in the one flavor that crypt(3) writes, after its specification (openwall.com/yescrypt);
 * thread-worker.ts runs it. Depends on node:crypto.
 *
 * yescrypt is scrypt with another mixing, pwxform: multiplications, and lookups in tables that change meanwhile.
 */
/* eslint-disable @typescript-eslint/no-non-null-assertion -- every index lies in its array, and a check costs time */
import { createHash, createHmac, pbkdf2Sync } from "node:crypto";

/** The 32-bit words in a block of 64 bytes, the unit of Salsa20 and pwxform. */
const blockWords = 16;
/** pwxform: rounds, and lanes of two 64-bit words each. */
const rounds = 6;
const lanes = 4;
/** Each of the three tables has 256 entries of 16 bytes. */
const tableWords = 256 * 4;
const entryMask = 0xff0;

/**
 * @param N the cost, a power of 2. The memory is 128 × N × r bytes.
 * @returns 32 bytes
 */
export function yescrypt(password: Uint8Array, salt: Uint8Array, N: number, r: number): Buffer {
  // A large computation begins with a 64th of it.
  const isLarge = N >= 0x100 && N * r >= 0x2_0000;
  const start = isLarge ? derive("yescrypt-prehash", password, salt, N / 64, r) : password;
  const key = derive("yescrypt", start, salt, N, r);
  // The StoredKey of SCRAM (RFC 5802).
  return createHash("sha256").update(hmac(key, "Client Key")).digest();
}

const hmac = (key: Uint8Array | string, message: Uint8Array | string) =>
  createHmac("sha256", key).update(message).digest();

function derive(
  label: string,
  password: Uint8Array,
  salt: Uint8Array,
  N: number,
  r: number,
): Buffer {
  const hashed = hmac(label, password);
  const bytes = pbkdf2Sync(hashed, salt, 1, 128 * r, "sha256");
  const words = shuffled(bytes);
  const tables = new Tables(words);
  const last = hmac(unshuffled(words.subarray(-blockWords)), bytes.subarray(0, 32));
  mix(words, tables, N, r);
  return pbkdf2Sync(last, unshuffled(words), 1, 32, "sha256");
}

/** The little-endian words of `bytes`, reordered within each block for pwxform's lanes. */
function shuffled(bytes: Buffer): Int32Array {
  return Int32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readInt32LE(4 * placeOf(i)));
}

function unshuffled(words: Int32Array): Buffer {
  const bytes = Buffer.alloc(4 * words.length);
  words.forEach((word, i) => bytes.writeInt32LE(word, 4 * placeOf(i)));
  return bytes;
}

const placeOf = (i: number) => i - (i % blockWords) + ((i * 5) % blockWords);

/** The three lookup tables of pwxform. They exchange their roles after every block. */
class Tables {
  first: Int32Array;
  second: Int32Array;
  /** The table that is written to, at `written`. */
  third: Int32Array;
  written = 0;

  /** Filled by scrypt's own mixing of the first 128 bytes of `words`, which it changes. */
  constructor(words: Int32Array) {
    const all = new Int32Array(3 * tableWords);
    for (let at = 0; at < all.length; at += 2 * blockWords) {
      all.set(words.subarray(0, 2 * blockWords), at);
      xor(words, 0, words, blockWords, blockWords);
      salsa20(words, 0, 8);
      xor(words, blockWords, words, 0, blockWords);
      salsa20(words, blockWords, 8);
    }
    this.third = all.subarray(0, tableWords);
    this.second = all.subarray(tableWords, 2 * tableWords);
    this.first = all.subarray(2 * tableWords);
  }
}

/** Fills the memory, then reads and changes it in an order that depends on its content. */
function mix(x: Int32Array, tables: Tables, N: number, r: number): void {
  const size = 2 * blockWords * r;
  const memory = new Int32Array(N * size);
  const last = size - blockWords;
  for (let i = 0; i < N; i++) {
    memory.set(x, i * size);
    if (i > 1) {
      const power = 2 ** Math.floor(Math.log2(i));
      const j = ((x[last] ?? 0) & (power - 1)) + (i - power);
      xor(x, 0, memory, j * size, size);
    }
    mixBlocks(x, tables);
  }
  const loops = 2 * Math.ceil(Math.ceil(N / 3) / 2);
  for (let i = 0; i < loops; i++) {
    const at = ((x[last] ?? 0) & (N - 1)) * size;
    xor(x, 0, memory, at, size);
    memory.set(x, at);
    mixBlocks(x, tables);
  }
}

function xor(to: Int32Array, at: number, from: Int32Array, start: number, words: number): void {
  for (let i = 0; i < words; i++) to[at + i]! ^= from[start + i]!;
}

/** scrypt's BlockMix with pwxform, and with Salsa20/2 for the last block. */
function mixBlocks(x: Int32Array, tables: Tables): void {
  const last = x.length - blockWords;
  let previous = last;
  for (let at = 0; at <= last; at += blockWords) {
    xor(x, at, x, previous, blockWords);
    pwxform(x, at, tables);
    previous = at;
  }
  salsa20(x, last, 2);
}

/** Replaces each 64-bit word by the product of its halves, plus a word of one table, xor a word of another. */
function pwxform(x: Int32Array, at: number, tables: Tables): void {
  const { first, second, third } = tables;
  let { written } = tables;
  for (let round = 0; round < rounds; round++) {
    const isWritten = round > 0 && round < rounds - 1;
    for (let lane = at; lane < at + 4 * lanes; lane += 4) {
      const p = (x[lane]! & entryMask) >>> 2;
      const q = (x[lane + 1]! & entryMask) >>> 2;
      for (let k = 0; k < 4; k += 2) {
        const low = x[lane + k]!;
        const high = x[lane + k + 1]!;
        const product = Math.imul(low, high);
        const sum = (product + first[p + k]!) | 0;
        const carry = sum >>> 0 < product >>> 0 ? 1 : 0;
        x[lane + k] = sum ^ second[q + k]!;
        x[lane + k + 1] = (highProduct(low, high) + first[p + k + 1]! + carry) ^ second[q + k + 1]!;
      }
      if (!isWritten) continue;
      for (let k = 0; k < 4; k++) third[written + k] = x[lane + k]!;
      written += 4;
    }
  }
  tables.first = third;
  tables.second = first;
  tables.third = second;
  tables.written = written % tableWords;
}

/** The upper 32 bits of the product of two unsigned words. */
function highProduct(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = (Math.imul(aHigh, bLow) + (Math.imul(aLow, bLow) >>> 16)) >>> 0;
  const other = (Math.imul(aLow, bHigh) + (middle & 0xffff)) >>> 0;
  return (Math.imul(aHigh, bHigh) + (middle >>> 16) + (other >>> 16)) | 0;
}

/** The words of each quarter round, by columns and then by rows. */
const quarters = [
  [0, 4, 8, 12],
  [5, 9, 13, 1],
  [10, 14, 2, 6],
  [15, 3, 7, 11],
  [0, 1, 2, 3],
  [5, 6, 7, 4],
  [10, 11, 8, 9],
  [15, 12, 13, 14],
] as const;

/** Salsa20 of one block, whose words are in pwxform's order. */
function salsa20(words: Int32Array, at: number, salsaRounds: number): void {
  const state = new Int32Array(blockWords);
  const add = (to: number, a: number, b: number, turn: number) => {
    const sum = state[a]! + state[b]!;
    state[to]! ^= (sum << turn) | (sum >>> (32 - turn));
  };
  for (let i = 0; i < blockWords; i++) state[placeOf(i)] = words[at + i]!;
  for (let round = 0; round < salsaRounds; round += 2) {
    for (const [a, b, c, d] of quarters) {
      add(b, a, d, 7);
      add(c, b, a, 9);
      add(d, c, b, 13);
      add(a, d, c, 18);
    }
  }
  for (let i = 0; i < blockWords; i++) words[at + i]! += state[placeOf(i)]!;
}
