/**
 * scrypt (RFC 7914) in the encodings of the frameworks that use it, and yescrypt, which is built on it.
 * Depends on node:crypto.
 */
import { createCipheriv } from "node:crypto";
import {
  type HashFamily,
  HashRefusal,
  type ParsedHash,
  base64,
  bounded,
  derived,
  digestBytesMin,
  hex,
  match,
} from "./family.js";
import { computeInThread } from "./thread.js";

/** 128 × N × r: 128 MiB, OWASP's first choice. The default of passlib and Spring is 64 MiB. */
const memoryBytesMax = 2 ** 27;
/** 128 × N × r × p: 256 MiB. */
const workBytesMax = 2 * memoryBytesMax;
const blockMax = 64;
const lanesMax = 16;
const ceiling = `128 × N × r ${memoryBytesMax}, 128 × N × r × p ${workBytesMax}, r ${blockMax}, p ${lanesMax}`;

interface Cost {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}

/** @throws HashRefusal if a cost is not within its bounds */
function cost(N: number, r: number, p: number): Cost & Record<string, number> {
  bounded("r", r, 1, blockMax);
  bounded("p", p, 1, lanesMax);
  bounded("N", N, 2, memoryBytesMax / 128 / r);
  if (!Number.isInteger(Math.log2(N))) throw new HashRefusal("unusable", "N is no power of 2");
  bounded("N × r × p", N * r * p, 1, workBytesMax / 128);
  return { N, r, p };
}

function key(password: Buffer | string, salt: Buffer | string, bytes: number, { N, r, p }: Cost) {
  return computeInThread("scrypt", password, salt, bytes, { N, r, p, maxmem: 2 * memoryBytesMax });
}

/** `n` is N itself or its exponent: below 64 it is the exponent, because a real N is never that small. */
const exponentOrN = (n: number) => (n < 64 ? 2 ** n : n);

function scryptHash(
  costs: Cost & Record<string, number>,
  salt: Buffer | string,
  secrets: readonly [string, string],
): ParsedHash {
  const digest = base64(secrets[1], digestBytesMin);
  return derived(costs, secrets, digest, (password) => key(password, salt, digest.length, costs));
}

function parsePhc(encoded: string): ParsedHash {
  const [, ln, r, p, salt = "", digest = ""] = match(
    /^\$scrypt\$ln=([1-9]\d*),r=([1-9]\d*),p=([1-9]\d*)\$([^$]+)\$([^$]+)$/,
    encoded,
  );
  const costs = cost(exponentOrN(Number(ln)), Number(r), Number(p));
  return scryptHash(costs, base64(salt), [salt, digest]);
}

function parseDjango(encoded: string): ParsedHash {
  const [, N, salt = "", r, p, digest = ""] = match(
    /^scrypt\$([1-9]\d*)\$([^$]+)\$([1-9]\d*)\$([1-9]\d*)\$([^$]+)$/,
    encoded,
  );
  return scryptHash(cost(Number(N), Number(r), Number(p)), salt, [salt, digest]);
}

function parseSpring(encoded: string): ParsedHash {
  const [, hex = "", salt = "", digest = ""] = match(
    /^(?:\{[^{}]*\})?\$([0-9a-f]{5,6})\$([^$]+)\$([^$]+)$/,
    encoded,
  );
  const bits = Number.parseInt(hex, 16);
  const costs = cost(2 ** (bits >> 16), (bits >> 8) & 255, bits & 255);
  return scryptHash(costs, base64(salt), [salt, digest]);
}

/** `scrypt:N:r:p$salt$hex`, the salt as text. */
function parseWerkzeug(encoded: string): ParsedHash {
  const [, N, r, p, salt = "", digest = ""] = match(
    /^scrypt:([1-9]\d*):([1-9]\d*):([1-9]\d*)\$([^$]*)\$([^$]+)$/,
    encoded,
  );
  const costs = cost(Number(N), Number(r), Number(p));
  return derived(costs, [salt, digest], hex(digest, digestBytesMin), (password) =>
    key(password, salt, digest.length / 2, costs),
  );
}

function parseAdonis(encoded: string): ParsedHash {
  const [, N, r, p, salt = "", digest = ""] = match(
    /^\$scrypt\$n=([1-9]\d*),r=([1-9]\d*),p=([1-9]\d*)\$([^$]+)\$([^$]+)$/,
    encoded,
  );
  return scryptHash(cost(Number(N), Number(r), Number(p)), base64(salt), [salt, digest]);
}

const itoa64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** Decodes a number in crypt's digits, least significant first. */
const fromItoa64 = (text: string) =>
  Array.from(text).reduceRight((sum, digit) => sum * 64 + itoa64.indexOf(digit), 0);

function bytesOfItoa64(text: string): Buffer {
  const groups = text.match(/.{1,4}/gs) ?? [];
  return Buffer.concat(
    groups.map((group) => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32LE(fromItoa64(group));
      return bytes.subarray(0, Math.floor((group.length * 6) / 8));
    }),
  );
}

/** The salt is the stored text itself. */
function parseCrypt(encoded: string): ParsedHash {
  const [, log2 = "", r = "", p = "", salt = "", digest = ""] = match(
    /^\$7\$([./A-Za-z0-9])([./A-Za-z0-9]{5})([./A-Za-z0-9]{5})([^$]*)\$([./A-Za-z0-9]{43})$/,
    encoded,
  );
  const costs = cost(2 ** fromItoa64(log2), fromItoa64(r), fromItoa64(p));
  return derived(costs, [salt, digest], bytesOfItoa64(digest), (password) =>
    key(password, salt, 32, costs),
  );
}

/** 64 MiB, four times the default of crypt(3). Such a hash takes as long as bcrypt of cost 14. */
const yescryptBytesMax = memoryBytesMax / 2;

/** Flavor `j`, the only one that crypt(3) writes. One digit each for the exponent of N and for r, both minus one. */
function parseYescrypt(encoded: string): ParsedHash {
  const [, log2 = "", block = "", salt = "", digest = ""] = match(
    /^(?:\{[^{}]*\})?\$y\$j([./0-9A-Za-j])([./0-9A-Za-j])\$([./A-Za-z0-9]{0,86})\$([./A-Za-z0-9]{43})$/,
    encoded,
  );
  const r = fromItoa64(block) + 1;
  const N = 2 ** (fromItoa64(log2) + 1);
  bounded("N", N, 4, yescryptBytesMax / 128 / r);
  return derived({ N, r }, [salt, digest], bytesOfItoa64(digest), (password) =>
    computeInThread("yescrypt", password, bytesOfItoa64(salt), N, r),
  );
}

/** Supabase's form of a Firebase hash. */
function parseSupabase(encoded: string): ParsedHash {
  const [, ln, r, p, separator = "", signerKey = "", salt = "", digest = ""] = match(
    /^\$fbscrypt\$v=1,n=([1-9]\d*),r=([1-9]\d*),p=([1-9]\d*),ss=([^,$]*),sk=([^,$]+)\$([^$]+)\$([^$]+)$/,
    encoded,
  );
  return parseFirebase(
    `$firescrypt$ln=${ln},r=${r},p=${p}$${salt}$${digest}$${separator}$${signerKey}`,
  );
}

function parseBetterAuth(encoded: string): ParsedHash {
  const [, salt = "", digest = ""] = match(
    /^\{better-auth\}([0-9a-f]{32}):([0-9a-f]{128})$/,
    encoded,
  );
  const costs = cost(16_384, 16, 1);
  const hash = derived(costs, [salt, digest], Buffer.from(digest, "hex"), (password) =>
    key(password.toString().normalize("NFKC"), salt, 64, costs),
  );
  return { ...hash, isExact: (password) => /^\p{ASCII}*$/u.test(password) };
}

/** Firebase derives a key from the password by scrypt and encrypts the project's signer key with it. */
function parseFirebase(encoded: string): ParsedHash {
  const [, ln, r, p, salt = "", digest = "", separator = "", signerKey = ""] = match(
    /^\$firescrypt\$ln=([1-9]\d*),r=([1-9]\d*),p=([1-9]\d*)\$([^$]+)\$([^$]+)\$([^$]*)\$([^$]+)$/,
    encoded,
  );
  const costs = cost(2 ** Number(ln), Number(r), Number(p));
  const saltBytes = Buffer.concat([base64(salt), base64(separator)]);
  const plain = base64(signerKey, digestBytesMin);
  const digestBytes = base64(digest, digestBytesMin);
  return derived(costs, [salt, digest], digestBytes, async (password) => {
    const cipherKey = await key(password, saltBytes, 32, costs);
    return createCipheriv("aes-256-ctr", cipherKey, Buffer.alloc(16)).update(plain);
  });
}

export const scryptFamilies: readonly HashFamily[] = [
  {
    name: "scrypt (AdonisJS)",
    form: "$scrypt$n=16384,r=8,p=1$…$…",
    source: "AdonisJS",
    ceiling,
    prefix: /^\$scrypt\$n=/,
    parse: parseAdonis,
  },
  {
    name: "scrypt (Werkzeug)",
    form: "scrypt:32768:8:1$…$…",
    source: "Werkzeug, Flask",
    ceiling,
    prefix: /^scrypt:/,
    parse: parseWerkzeug,
  },
  {
    name: "scrypt (crypt)",
    form: "$7$CU..../....…$…",
    source: "crypt(3), libsodium's older one, passlib",
    ceiling,
    prefix: /^\$7\$/,
    parse: parseCrypt,
  },
  {
    name: "yescrypt",
    form: "$y$j9T$…$…",
    source: "crypt(3) of Debian, Fedora, Ubuntu; `{CRYPT}…`",
    ceiling: `128 × N × r ${yescryptBytesMax}`,
    prefix: /^(?:\{(?:crypt|CRYPT)\})?\$y\$/,
    parse: parseYescrypt,
  },
  {
    name: "scrypt (Supabase)",
    form: "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=…$…$…",
    source: "Supabase, of users who came from Firebase",
    ceiling,
    prefix: /^\$fbscrypt\$/,
    parse: parseSupabase,
  },
  {
    name: "scrypt",
    form: "$scrypt$ln=16,r=8,p=1$…$…",
    source: "PHC, passlib, Ory Kratos",
    ceiling,
    prefix: /^\$scrypt\$/,
    parse: parsePhc,
  },
  {
    name: "scrypt (Django)",
    form: "scrypt$16384$…$8$5$…",
    source: "Django",
    ceiling,
    prefix: /^scrypt\$/,
    parse: parseDjango,
  },
  {
    name: "scrypt (Spring)",
    form: "{scrypt}$100801$…$…",
    source: "Spring, with or without `{scrypt}` or `{scrypt@SpringSecurity_v5_8}`",
    ceiling,
    prefix: /^(?:\{scrypt(?:@SpringSecurity_v5_8)?\}|\$[0-9a-f]{5,6}\$)/,
    parse: parseSpring,
  },
  {
    name: "scrypt (better-auth)",
    form: "{better-auth}…:…",
    source: "better-auth, by its preset or `users import` with the prefix",
    ceiling: "fixed: N 16384, r 16, p 1",
    prefix: /^\{better-auth\}/,
    parse: parseBetterAuth,
  },
  {
    name: "scrypt (Firebase)",
    form: "$firescrypt$ln=14,r=8,p=1$…$…$separator$signer key",
    source: "Firebase Authentication, in the encoding of Ory Kratos",
    ceiling,
    prefix: /^\$firescrypt\$/,
    parse: parseFirebase,
  },
];
