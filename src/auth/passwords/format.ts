/**
 * `USERS_PASSWORD_FORMAT`: a small notation for the format of hashes that do not name it themselves.
 *
 *     pbkdf2-sha512 iterations=10000 bytes=64 salt=salt salt-encoding=base64 encoding=base64
 *     sha256 mix=password+salt salt=salt
 *     scrypt N=16384 r=8 p=1 bytes=64 layout=salt:hash
 *     marked over=sha512-hex
 *     marked mix=password+pepper
 *
 * Depends on node:crypto and its neighbours `family.ts` and `thread.ts`; families.ts passes in the parser of
 * hashes that do name their format.
 */
import { createHash, createHmac } from "node:crypto";
import {
  type HashFamily,
  HashRefusal,
  type ParsedHash,
  bounded,
  derived,
  digestBytesMin,
  match,
} from "./family.js";
import { computeInThread } from "./thread.js";

const digests = ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"] as const;
type Digest = (typeof digests)[number];
const digestBytes: Readonly<Record<Digest, number>> = {
  md5: 16,
  sha1: 20,
  sha224: 28,
  sha256: 32,
  sha384: 48,
  sha512: 64,
};

type Encoding = "hex" | "base64";
type Ingredient = "password" | "salt" | "pepper" | { readonly text: string };

export interface PasswordFormat {
  readonly notation: string;
  /** `marked`: the stored hash names its own format; only what is hashed, `mix` and `over`, is unusual. */
  readonly algorithm: "digest" | "pbkdf2" | "scrypt" | "marked";
  readonly digest: Digest;
  readonly mix: readonly Ingredient[];
  readonly over:
    { readonly digest: Digest; readonly encoding: Encoding; readonly keyed: boolean } | undefined;
  readonly cost: Readonly<Record<string, number>>;
  /** Length of the key that pbkdf2 or scrypt derives, or of the digest. */
  readonly bytes: number;
  readonly encoding: Encoding;
  /** Path of the salt's field; undefined if there is no salt or the hash field holds it. */
  readonly saltField: string | undefined;
  readonly saltEncoding: "text" | Encoding;
  readonly layout: "hash" | "salt:hash" | "hash:salt";
  readonly usesPepper: boolean;
}

/** A notation is not valid; the message completes the sentence "USERS_PASSWORD_FORMAT …". */
export class FormatFault extends Error {
  override readonly name = "FormatFault";
}

const options = {
  digest: ["mix", "over", "rounds", "encoding", "salt", "salt-encoding", "layout"],
  pbkdf2: ["mix", "over", "iterations", "bytes", "encoding", "salt", "salt-encoding", "layout"],
  scrypt: ["mix", "over", "N", "r", "p", "bytes", "encoding", "salt", "salt-encoding", "layout"],
  marked: ["mix", "over"],
} as const;

const iterationsMax = 2_000_000;
const roundsMax = 1_000_000;
const memoryBytesMax = 2 ** 27;

/** @throws FormatFault */
export function parseFormat(notation: string): PasswordFormat {
  const [name = "", ...words] = notation.trim().split(/\s+/);
  const [algorithm, digest] = readAlgorithm(name);
  const given = readOptions(words, options[algorithm]);
  const saltField = given.get("salt");
  const layout = choice(given, "layout", ["hash", "salt:hash", "hash:salt"] as const);
  const hasSalt = saltField !== undefined || layout !== "hash";
  if (saltField !== undefined && layout !== "hash") {
    throw new FormatFault("has a salt both in a field and in the layout");
  }
  if (!hasSalt && (algorithm === "pbkdf2" || algorithm === "scrypt")) {
    throw new FormatFault(`needs salt=FIELD or layout=salt:hash for ${name}`);
  }
  const isMixed = algorithm === "digest" && hasSalt;
  const mix = readMix(given.get("mix") ?? (isMixed ? "salt+password" : "password"));
  if (mix.includes("salt") && !hasSalt) throw new FormatFault("mixes a salt and has none");
  const over = readOver(given.get("over"));
  return {
    notation,
    algorithm,
    digest,
    mix,
    over,
    cost: readCost(algorithm, digest, given),
    bytes:
      algorithm === "digest" || algorithm === "marked"
        ? digestBytes[digest]
        : number(given, "bytes", digestBytesMin, 512),
    encoding: choice(given, "encoding", ["hex", "base64"] as const),
    saltField,
    saltEncoding: choice(given, "salt-encoding", ["text", "hex", "base64"] as const),
    layout,
    usesPepper: mix.includes("pepper") || over?.keyed === true,
  };
}

function readAlgorithm(name: string): [PasswordFormat["algorithm"], Digest] {
  if (name === "scrypt" || name === "marked") return [name, "sha256"];
  const [, prefix, digest] = /^(pbkdf2-)?(\w+)$/.exec(name) ?? [];
  if (!digests.includes(digest as Digest)) {
    throw new FormatFault(
      `begins with ${JSON.stringify(name)}, which is none of ${digests.join(", ")}, pbkdf2-…, scrypt, marked`,
    );
  }
  return [prefix ? "pbkdf2" : "digest", digest as Digest];
}

function readOptions(words: readonly string[], known: readonly string[]): Map<string, string> {
  const given = new Map<string, string>();
  for (const word of words) {
    const [, key = "", value = ""] = /^([^=]+)=(.+)$/.exec(word) ?? [];
    if (!known.includes(key)) {
      throw new FormatFault(`has ${JSON.stringify(word)}; allowed here: ${known.join("=…, ")}=…`);
    }
    if (given.has(key)) throw new FormatFault(`has ${key} twice`);
    given.set(key, value);
  }
  return given;
}

function choice<const T extends readonly [string, ...string[]]>(
  given: ReadonlyMap<string, string>,
  key: string,
  values: T,
): T[number] {
  const value = given.get(key) ?? values[0];
  if (values.includes(value)) return value;
  throw new FormatFault(`has ${key}=${value}, which must be one of ${values.join(", ")}`);
}

function number(given: ReadonlyMap<string, string>, key: string, min: number, max: number): number {
  const text = given.get(key) ?? "";
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new FormatFault(`needs ${key}= with a whole number from ${min} to ${max}`);
}

function readCost(
  algorithm: PasswordFormat["algorithm"],
  digest: Digest,
  given: ReadonlyMap<string, string>,
): Record<string, number> {
  switch (algorithm) {
    case "marked":
      return {};
    case "digest":
      return given.has("rounds") ? { rounds: number(given, "rounds", 1, roundsMax) } : {};
    case "pbkdf2": {
      const blocks = Math.ceil(number(given, "bytes", digestBytesMin, 512) / digestBytes[digest]);
      return { iterations: number(given, "iterations", 1, Math.floor(iterationsMax / blocks)) };
    }
    case "scrypt": {
      const [r, p] = [number(given, "r", 1, 64), number(given, "p", 1, 2)];
      const N = number(given, "N", 2, memoryBytesMax / 128 / r);
      if (!Number.isInteger(Math.log2(N))) throw new FormatFault("needs N= with a power of 2");
      return { N, r, p };
    }
  }
}

/** Parses `password+":"+salt`; a literal is in quotes and has neither blanks nor plus signs. */
function readMix(text: string): Ingredient[] {
  const parts = text.split("+").map((part): Ingredient => {
    if (part === "password" || part === "salt" || part === "pepper") return part;
    const [, literal] = /^"([^"]*)"$/.exec(part) ?? [];
    if (literal !== undefined) return { text: literal };
    throw new FormatFault(`mixes ${part}: neither password, salt, pepper nor a text in quotes`);
  });
  if (parts.includes("password")) return parts;
  throw new FormatFault("has a mix without the password");
}

function readOver(text: string | undefined): PasswordFormat["over"] {
  if (text === undefined) return undefined;
  const [, hmac, digest, encoding] = /^(hmac-)?(\w+)-(hex|base64)$/.exec(text) ?? [];
  if (!digests.includes(digest as Digest)) {
    throw new FormatFault(
      `has over=${text}, which must have a form such as sha512-hex or hmac-sha512-base64`,
    );
  }
  return { digest: digest as Digest, encoding: encoding as Encoding, keyed: hmac !== undefined };
}

/** The peppers by name. An encoded hash holds the name, never the pepper. */
const peppers = new Map<string, string>();

/** Keeps a pepper in this process and returns its name, the start of its SHA-256. */
export function rememberPepper(pepper: string): string {
  const name = createHash("sha256").update(pepper).digest("hex").slice(0, 16);
  peppers.set(name, pepper);
  return name;
}

/** Returns a function that joins a stored hash and its salt into one string, which a hash family recognises. */
export function formatEncoder(format: PasswordFormat, pepper: string | undefined) {
  const name = pepper === undefined ? "" : rememberPepper(pepper);
  const mark = `{format ${encodeURIComponent(format.notation)} ${name}}`;
  return (hash: string, salt: string): string => {
    // Leaves hashes alone that have a mark already, and, unless the format is `marked`, those of another shape.
    const isOurs = hash.startsWith("{") || (format.algorithm !== "marked" && !fits(format, hash));
    return isOurs ? hash : `${mark}${salt}$${hash}`;
  };
}

/** Whether a stored hash has the shape of the format. */
export function fits(
  { algorithm, layout, encoding, bytes }: PasswordFormat,
  stored: string,
): boolean {
  if (algorithm === "marked") return false;
  const parts = layout === "hash" ? ["", stored] : splitLayout(stored, layout);
  const hash = parts[1] ?? "";
  return encoding === "hex"
    ? hash.length === 2 * bytes && /^[0-9a-f]+$/i.test(hash)
    : /^[A-Za-z0-9+/]+={0,2}$/.test(hash) && Buffer.from(hash, "base64").length === bytes;
}

/** Common formats of hashes that do not name theirs: the software that writes them, and the notation. */
export const knownFormats = [
  ["unsalted digests", "md5"],
  ["unsalted digests", "sha1"],
  ["unsalted digests", "sha256"],
  ["unsalted digests, ColdFusion's Hash()", "sha512"],
  ["ColdFusion, Hash(password & salt)", "sha512 mix=password+salt salt=salt"],
  ["Joomla before 2.5", "md5 mix=password+salt layout=hash:salt"],
  [
    "MEAN.js",
    "pbkdf2-sha512 iterations=10000 bytes=64 salt=salt salt-encoding=base64 encoding=base64",
  ],
  ["Grafana", "pbkdf2-sha256 iterations=10000 bytes=50 salt=salt"],
  ["Gitea", "pbkdf2-sha256 iterations=50000 bytes=50 salt=salt salt-encoding=hex"],
  ["passport-local-mongoose of old", "pbkdf2-sha1 iterations=12000 bytes=512 salt=salt"],
  ["Node's crypto.scrypt, salt:key", "scrypt N=16384 r=8 p=1 bytes=64 layout=salt:hash"],
  ["better-auth", "scrypt N=16384 r=16 p=1 bytes=64 layout=salt:hash"],
] as const;

/** The notations of the known formats whose shape the hash has. */
export function fittingFormats(stored: string): string[] {
  return knownFormats
    .map(([, notation]) => notation)
    .filter((notation) => fits(parseFormat(notation), stored));
}

/** Splits a stored text into salt and hash. */
function splitLayout(stored: string, layout: "salt:hash" | "hash:salt"): [string, string] {
  const at = layout === "salt:hash" ? stored.lastIndexOf(":") : stored.indexOf(":");
  const [before, after] = [stored.slice(0, Math.max(at, 0)), stored.slice(at + 1)];
  return layout === "salt:hash" ? [before, after] : [after, before];
}

/** The family of hashes in `USERS_PASSWORD_FORMAT`; `parseMarked` parses those of a format `marked`. */
export const formatFamily = (parseMarked: (encoded: string) => ParsedHash): HashFamily => ({
  name: "custom",
  form: "{format …}…$…",
  source:
    "any format that `USERS_PASSWORD_FORMAT` describes: [formats of one's own](#formats-of-ones-own)",
  ceiling: `iterations × blocks ${iterationsMax}, rounds ${roundsMax}, 128 × N × r ${memoryBytesMax}`,
  prefix: /^\{format /,
  parse: (encoded) => parseTold(encoded, parseMarked),
});

function parseTold(encoded: string, parseMarked: (encoded: string) => ParsedHash): ParsedHash {
  const [, notation = "", pepperName = "", rest = ""] = match(
    /^\{format (\S+) ([0-9a-f]*)\}(.*)$/s,
    encoded,
  );
  const format = storedFormat(notation);
  const pepper = pepperName === "" ? "" : peppers.get(pepperName);
  if (pepper === undefined || (format.usesPepper && pepperName === "")) {
    throw new HashRefusal("unusable", "needs a pepper that is not set: USERS_PASSWORD_PEPPER");
  }
  if (format.algorithm === "marked") {
    const inner = parseMarked(rest.slice(1));
    const { cost, secrets } = inner;
    const isFull = format.over ? undefined : (text: string) => inner.isExact?.(text) ?? true;
    return {
      cost,
      secrets,
      ...(isFull && { isExact: isFull }),
      verify: (password) => inner.verify(mixed(format, password, Buffer.alloc(0), pepper)),
    };
  }
  const at = format.layout === "hash" ? rest.lastIndexOf("$") : 0;
  const [salt, hash] =
    format.layout === "hash"
      ? [rest.slice(0, at), rest.slice(at + 1)]
      : splitLayout(rest.slice(1), format.layout);
  if (!fits({ ...format, layout: "hash" }, hash)) {
    throw new HashRefusal("unusable", "not of the form that USERS_PASSWORD_FORMAT gives");
  }
  const hasSalt = format.saltField !== undefined || format.layout !== "hash";
  if (hasSalt && salt === "")
    throw new HashRefusal("unusable", "lacks the salt that USERS_PASSWORD_FORMAT names");
  const saltBytes = Buffer.from(
    salt,
    format.saltEncoding === "text" ? "utf8" : format.saltEncoding,
  );
  return derived(
    format.cost,
    [salt, hash].filter(Boolean),
    Buffer.from(hash, format.encoding),
    (password) => compute(format, mixed(format, password, saltBytes, pepper), saltBytes),
  );
}

/** Parses the notation in an encoded hash. @throws HashRefusal if it is not valid */
function storedFormat(encoded: string): PasswordFormat {
  try {
    return parseFormat(decodeURIComponent(encoded));
  } catch (error) {
    if (!(error instanceof FormatFault) && !(error instanceof URIError)) throw error;
    throw new HashRefusal("unusable", "its notation is not valid");
  }
}

/** The bytes that the algorithm hashes: the password, mixed with salt and pepper. */
function mixed(
  { mix, over }: PasswordFormat,
  password: Buffer,
  salt: Buffer,
  pepper: string,
): Buffer {
  const state = over && (over.keyed ? createHmac(over.digest, pepper) : createHash(over.digest));
  const text = state ? Buffer.from(state.update(password).digest(over.encoding)) : password;
  return Buffer.concat(
    mix.map((part) => {
      if (part === "password") return text;
      if (part === "salt") return salt;
      return Buffer.from(part === "pepper" ? pepper : part.text);
    }),
  );
}

async function compute(
  format: PasswordFormat,
  password: Buffer,
  salt: Buffer,
): Promise<Uint8Array> {
  const { algorithm, digest, bytes, cost } = format;
  const { iterations = 1, rounds = 1, N = 2, r = 1, p = 1 } = cost;
  if (algorithm === "pbkdf2")
    return computeInThread("pbkdf2", password, salt, iterations, bytes, digest);
  if (algorithm === "scrypt") {
    return computeInThread("scrypt", password, salt, bytes, {
      N,
      r,
      p,
      maxmem: 2 * memoryBytesMax,
    });
  }
  return computeInThread(
    "saltedDigest",
    digest,
    password,
    Buffer.alloc(0),
    bounded("rounds", rounds, 1, roundsMax),
  );
}
