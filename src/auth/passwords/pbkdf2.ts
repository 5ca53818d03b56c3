/**
 * PBKDF2 (RFC 8018) in the encodings of the frameworks that use it.
 */
import {
  type HashFamily,
  HashRefusal,
  type ParsedHash,
  base64,
  bounded,
  derived,
  digestBytesMin,
  match,
} from "./family.js";
import { computeInThread } from "./thread.js";

/** Iterations times the blocks of the digest: Django 6.1 writes 1,500,000. */
const workMax = 2_000_000;
const ceiling = `iterations × blocks ${workMax}`;

/** Bytes that one block of the digest has. */
const blockBytes = { sha1: 20, sha256: 32, sha512: 64 } as const;
type Digest = keyof typeof blockBytes;

function pbkdf2Hash(
  hash: Digest,
  iterations: number,
  salt: Buffer | string,
  digest: Buffer,
  secrets: readonly string[],
): ParsedHash {
  if (digest.length < digestBytesMin) throw new HashRefusal("unusable", "digest too short");
  const blocks = Math.ceil(digest.length / blockBytes[hash]);
  bounded("iterations", iterations, 1, workMax / blocks);
  return derived({ iterations }, secrets, digest, (password) =>
    computeInThread("pbkdf2", password, salt, iterations, digest.length, hash),
  );
}

/** PHC, passlib and Ory Kratos; the last has a length `l`, which the digest tells as well. */
function parsePhc(encoded: string): ParsedHash {
  const [, hash = "", iterations, salt = "", digest = ""] = match(
    /^\$pbkdf2(?:-(sha1|sha256|sha512))?\$(?:i=)?([1-9]\d*)(?:,l=\d+)?\$([^$]*)\$([^$]+)$/,
    encoded,
  );
  const name = (hash || "sha1") as Digest;
  return pbkdf2Hash(name, Number(iterations), base64(salt), base64(digest), [salt, digest]);
}

function parseDjango(encoded: string): ParsedHash {
  const [, hash, iterations, salt = "", digest = ""] = match(
    /^pbkdf2_(sha1|sha256)\$([1-9]\d*)\$([^$]+)\$([^$]+)$/,
    encoded,
  );
  return pbkdf2Hash(hash as Digest, Number(iterations), salt, base64(digest), [salt, digest]);
}

/** Salt and digest in one, and no parameters: those are the defaults that the id stands for. */
function parseSpring(encoded: string): ParsedHash {
  const [, current, hex = ""] = match(
    /^\{pbkdf2(@SpringSecurity_v5_8)?\}((?:[0-9a-f]{2}){40,48})$/,
    encoded,
  );
  const [hash, iterations, saltBytes] = current
    ? (["sha256", 310_000, 16] as const)
    : (["sha1", 185_000, 8] as const);
  const bytes = Buffer.from(hex, "hex");
  const salt = bytes.subarray(0, saltBytes);
  return pbkdf2Hash(hash, iterations, salt, bytes.subarray(saltBytes), [hex]);
}

/** 0x00, 16 bytes of salt, 32 of digest. */
function parseAspNetV2(encoded: string): ParsedHash {
  const bytes = base64(encoded, 49);
  return pbkdf2Hash("sha1", 1000, bytes.subarray(1, 17), bytes.subarray(17), [encoded.slice(2)]);
}

/** 0x01, then three big-endian words: function, iterations, length of the salt; salt, digest. */
function parseAspNetV3(encoded: string): ParsedHash {
  const bytes = base64(encoded, 13 + digestBytesMin);
  const hash = (["sha1", "sha256", "sha512"] as const)[bytes.readUInt32BE(1)];
  if (hash === undefined) throw new HashRefusal("unusable", "unknown function");
  const saltEnd = 13 + bounded("salt length", bytes.readUInt32BE(9), 1, bytes.length);
  const salt = bytes.subarray(13, saltEnd);
  const iterations = bytes.readUInt32BE(5);
  return pbkdf2Hash(hash, iterations, salt, bytes.subarray(saltEnd), [encoded.slice(18)]);
}

/** The salt counts as the text that is stored, not as the bytes that it encodes. */
function parsePassport(encoded: string): ParsedHash {
  const [, salt = "", payload, hex = ""] = match(
    /^\{[^{}]*\}([^$]+)\$(pbkdf2-sha256-v1:)?((?:[0-9a-f]{2})+)$/,
    encoded,
  );
  const iterations = payload ? 600_000 : 25_000;
  return pbkdf2Hash("sha256", iterations, salt, Buffer.from(hex, "hex"), [salt, hex]);
}

export const pbkdf2Families: readonly HashFamily[] = [
  {
    name: "pbkdf2",
    form: "$pbkdf2-sha256$i=600000$…$…",
    source: "SHA-1, SHA-256, SHA-512: PHC, passlib, Ory Kratos; Keycloak by import",
    ceiling,
    prefix: /^\$pbkdf2[-$]/,
    parse: parsePhc,
  },
  {
    name: "pbkdf2 (Django)",
    form: "pbkdf2_sha256$1000000$…$…",
    source: "Django, SHA-1 and SHA-256",
    ceiling,
    prefix: /^pbkdf2_sha/,
    parse: parseDjango,
  },
  {
    name: "pbkdf2 (Spring)",
    form: "{pbkdf2@SpringSecurity_v5_8}……",
    source: "Spring, also `{pbkdf2}`; hexadecimal, no secret",
    ceiling: "fixed: 310000 iterations of SHA-256 or 185000 of SHA-1",
    prefix: /^\{pbkdf2(?:@SpringSecurity_v5_8)?\}/,
    parse: parseSpring,
  },
  {
    name: "pbkdf2 (ASP.NET v2)",
    form: "A……==",
    source: "ASP.NET Identity 2",
    ceiling: "fixed: 1000 iterations of SHA-1",
    prefix: /^A[A-P][A-Za-z0-9+/]{64}==$/,
    parse: parseAspNetV2,
  },
  {
    name: "pbkdf2 (ASP.NET v3)",
    form: "AQAAAA……",
    source: "ASP.NET Core Identity, SHA-1, SHA-256 and SHA-512",
    ceiling,
    prefix: /^AQAAAA[A-Za-z0-9+/]+={0,2}$/,
    parse: parseAspNetV3,
  },
  {
    name: "pbkdf2 (passport-local-mongoose)",
    form: "{passport-local-mongoose}…$…",
    source: "passport-local-mongoose, Payload",
    ceiling: "fixed: 25000 iterations of SHA-256, 600000 for `pbkdf2-sha256-v1:`",
    prefix: /^\{passport-local-mongoose\}/,
    parse: parsePassport,
  },
];
