/** PBKDF2 (RFC 8018) in the encodings of the frameworks that use it. */
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

/** Iterations times blocks of the digest. Django 6.1 writes 1,500,000. */
const workMax = 2_000_000;
const ceiling = `iterations × blocks ${workMax}`;

/** Bytes in one block of the digest. */
const blockBytes = { md5: 16, sha1: 20, sha224: 28, sha256: 32, sha384: 48, sha512: 64 } as const;
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

/** PHC, passlib and Ory Kratos. The length `l`, which Kratos writes, follows from the digest. */
function parsePhc(encoded: string): ParsedHash {
  const [, hash = "", iterations, salt = "", digest = ""] = match(
    /^\$pbkdf2(?:-(md5|sha1|sha224|sha256|sha384|sha512))?\$(?:i=)?([1-9]\d*)(?:,l=\d+)?\$([^$]*)\$([^$]+)$/,
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

/** Salt and digest in one text. The prefix stands for fixed parameters. */
function parseSpring(encoded: string): ParsedHash {
  const [, current, text = ""] = match(
    /^\{pbkdf2(@SpringSecurity_v5_8)?\}((?:[0-9a-f]{2}){40,48})$/,
    encoded,
  );
  const [hash, iterations, saltBytes] = current
    ? (["sha256", 310_000, 16] as const)
    : (["sha1", 185_000, 8] as const);
  const bytes = hex(text);
  const salt = bytes.subarray(0, saltBytes);
  return pbkdf2Hash(hash, iterations, salt, bytes.subarray(saltBytes), [text]);
}

/** 0x00, 16 bytes of salt, 32 of digest. */
function parseAspNetV2(encoded: string): ParsedHash {
  const bytes = base64(encoded, 49);
  return pbkdf2Hash("sha1", 1000, bytes.subarray(1, 17), bytes.subarray(17), [encoded.slice(2)]);
}

/** 0x01; three big-endian words: function, iterations, length of the salt; then salt and digest. */
function parseAspNetV3(encoded: string): ParsedHash {
  const bytes = base64(encoded, 13 + digestBytesMin);
  const hash = (["sha1", "sha256", "sha512"] as const)[bytes.readUInt32BE(1)];
  if (hash === undefined) throw new HashRefusal("unusable", "unknown function");
  const saltEnd = 13 + bounded("salt length", bytes.readUInt32BE(9), 1, bytes.length);
  const salt = bytes.subarray(13, saltEnd);
  const iterations = bytes.readUInt32BE(5);
  return pbkdf2Hash(hash, iterations, salt, bytes.subarray(saltEnd), [encoded.slice(18)]);
}

/** `pbkdf2:sha256:iterations$salt$hex`, the salt as text. */
function parseWerkzeug(encoded: string): ParsedHash {
  const [, hash, iterations, salt = "", digest = ""] = match(
    /^pbkdf2:(sha1|sha256|sha512):([1-9]\d*)\$([^$]*)\$([^$]+)$/,
    encoded,
  );
  return pbkdf2Hash(hash as Digest, Number(iterations), salt, hex(digest), [salt, digest]);
}

function parseOpenLdap(encoded: string): ParsedHash {
  const [, bits, iterations, salt = "", digest = ""] = match(
    /^\{PBKDF2(?:-SHA(1|256|512))?\}([1-9]\d*)\$([^$]+)\$([^$]+)$/i,
    encoded,
  );
  const hash = `sha${bits || "1"}` as Digest;
  return pbkdf2Hash(hash, Number(iterations), base64(salt), base64(digest), [salt, digest]);
}

/** Four bytes of iterations, 64 of salt, then the key. */
function parse389(encoded: string): ParsedHash {
  const [, text = ""] = match(/^\{PBKDF2_SHA256\}([A-Za-z0-9+/]+={0,2})$/i, encoded);
  const bytes = base64(text, 68 + digestBytesMin);
  const iterations = bytes.readUInt32BE(0);
  const salt = bytes.subarray(4, 68);
  // A decoy must keep the first characters, which hold the iterations.
  return pbkdf2Hash("sha256", iterations, salt, bytes.subarray(68), [text.slice(8)]);
}

/** The salt as text, the digest in hexadecimal. */
function parseDovecot(encoded: string): ParsedHash {
  const [, salt = "", iterations, digest = ""] = match(
    /^\{PBKDF2\}\$1\$([^$]+)\$([1-9]\d*)\$([^$]+)$/i,
    encoded,
  );
  return pbkdf2Hash("sha1", Number(iterations), salt, hex(digest), [salt, digest]);
}

/** 16 bytes of salt, 32 of digest. */
function parseAtlassian(encoded: string): ParsedHash {
  const [, text = ""] = match(/^\{PKCS5S2\}([A-Za-z0-9+/]{64})$/i, encoded);
  const bytes = base64(text);
  return pbkdf2Hash("sha1", 10_000, bytes.subarray(0, 16), bytes.subarray(16), [text]);
}

function parseMattermost(encoded: string): ParsedHash {
  const [, hash, iterations, length, salt = "", digest = ""] = match(
    /^\$pbkdf2\$f=SHA(256|512),w=([1-9]\d*),l=([1-9]\d*)\$([^$]+)\$([^$]+)$/,
    encoded,
  );
  const bytes = base64(digest);
  if (bytes.length !== Number(length)) throw new HashRefusal("unusable", "wrong digest length");
  return pbkdf2Hash(`sha${hash}` as Digest, Number(iterations), base64(salt), bytes, [
    salt,
    digest,
  ]);
}

function parseGrub(encoded: string): ParsedHash {
  const [, iterations, salt = "", digest = ""] = match(
    /^(?:grub\.)?pbkdf2\.sha512\.([1-9]\d*)\.([0-9A-Fa-f]+)\.([0-9A-Fa-f]+)$/,
    encoded,
  );
  return pbkdf2Hash("sha512", Number(iterations), hex(salt), hex(digest), [salt, digest]);
}

/** Iterations in hexadecimal; base64 of the URL-safe alphabet. */
function parseCryptacular(encoded: string): ParsedHash {
  const [, iterations = "", salt = "", digest = ""] = match(
    /^\$p5k2\$([0-9a-f]+)\$([A-Za-z0-9_-]+={0,2})\$([A-Za-z0-9_-]{27}=)$/,
    encoded,
  );
  const standard = (text: string) => base64(text.replaceAll("-", "+").replaceAll("_", "/"));
  const count = Number.parseInt(iterations, 16);
  return pbkdf2Hash("sha1", count, standard(salt), standard(digest), [salt, digest]);
}

/** The salt is the stored text itself, not the bytes that it encodes. */
function parsePassport(encoded: string): ParsedHash {
  const [, writer, salt = "", current, digest = ""] = match(
    /^\{(passport-local-mongoose|payload)\}([^$]+)\$(pbkdf2-sha256-v1:)?((?:[0-9a-f]{2})+)$/,
    encoded,
  );
  const bytes = hex(digest);
  if (!current && bytes.length !== passportKeyBytes) {
    throw new HashRefusal(
      "unusable",
      `a key of ${bytes.length} bytes, not the default ${passportKeyBytes}: give its format in USERS_PASSWORD_FORMAT`,
    );
  }
  const iterations = current ? 600_000 : 25_000;
  const parsed = pbkdf2Hash("sha256", iterations, salt, bytes, [salt, digest]);
  const isFixed = current || writer === "payload";
  return isFixed ? parsed : { ...parsed, assumed: "25000 iterations of SHA-256, its defaults" };
}

/** The default of passport-local-mongoose's option `keylen`. */
const passportKeyBytes = 512;

export const pbkdf2Families: readonly HashFamily[] = [
  {
    name: "pbkdf2 (Mattermost)",
    form: "$pbkdf2$f=SHA256,w=600000,l=32$…$…",
    source: "Mattermost 11",
    ceiling,
    prefix: /^\$pbkdf2\$f=/,
    parse: parseMattermost,
  },
  {
    name: "pbkdf2 (Werkzeug)",
    form: "pbkdf2:sha256:260000$…$…",
    source: "Werkzeug, Flask; SHA-1, SHA-256 and SHA-512",
    ceiling,
    prefix: /^pbkdf2:/,
    parse: parseWerkzeug,
  },
  {
    name: "pbkdf2 (Dovecot)",
    form: "{PBKDF2}$1$…$5000$…",
    source: "Dovecot",
    ceiling,
    prefix: /^\{PBKDF2\}\$1\$/i,
    parse: parseDovecot,
  },
  {
    name: "pbkdf2 (OpenLDAP)",
    form: "{PBKDF2-SHA512}10000$…$…",
    source: "OpenLDAP, 389 Directory Server, passlib; also `{PBKDF2}`, `-SHA1`, `-SHA256`",
    ceiling,
    prefix: /^\{PBKDF2(?:-SHA(?:1|256|512))?\}\d+\$/i,
    parse: parseOpenLdap,
  },
  {
    name: "pbkdf2 (389 Directory Server)",
    form: "{PBKDF2_SHA256}……",
    source: "389 Directory Server before 2.0, FreeIPA",
    ceiling,
    prefix: /^\{PBKDF2_SHA256\}/i,
    parse: parse389,
  },
  {
    name: "pbkdf2 (Atlassian)",
    form: "{PKCS5S2}……",
    source: "Jira, Confluence, Crowd; passlib",
    ceiling: "fixed: 10000 iterations of SHA-1",
    prefix: /^\{PKCS5S2\}/i,
    parse: parseAtlassian,
  },
  {
    name: "pbkdf2 (GRUB)",
    form: "grub.pbkdf2.sha512.10000.….…",
    source: "GRUB, macOS, passlib",
    ceiling,
    prefix: /^(?:grub\.)?pbkdf2\.sha512\./,
    parse: parseGrub,
  },
  {
    name: "pbkdf2 (Cryptacular)",
    form: "$p5k2$2710$…$…",
    source: "Cryptacular, Pyramid; passlib",
    ceiling,
    prefix: /^\$p5k2\$/,
    parse: parseCryptacular,
  },
  {
    name: "pbkdf2",
    form: "$pbkdf2-sha256$i=600000$…$…",
    source: "MD5, SHA-1 and SHA-2: PHC, passlib, Ory Kratos; Keycloak and Auth0 by import",
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
    source:
      "passport-local-mongoose with its defaults, Payload `{payload}…`; for other options see [formats](#formats-of-ones-own)",
    ceiling: "fixed: 25000 iterations of SHA-256, 600000 for `pbkdf2-sha256-v1:`",
    prefix: /^\{(?:passport-local-mongoose|payload)\}/,
    parse: parsePassport,
  },
];
