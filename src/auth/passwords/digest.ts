/**
 * Single digests, with or without a salt: LDAP, the oldest ones of Spring and Django, and Ory Kratos's templates.
 * Depends on node:crypto.
 */
import { createHash, createHmac } from "node:crypto";
import {
  type HashFamily,
  HashRefusal,
  type ParsedHash,
  base64,
  bounded,
  derived,
  hex,
  match,
} from "./family.js";
import { computeInThread } from "./thread.js";

const digestBytes = { md5: 16, sha1: 20, sha224: 28, sha256: 32, sha384: 48, sha512: 64 } as const;
type Digest = keyof typeof digestBytes;

function digestHash(
  hash: Digest,
  digest: Buffer,
  secrets: readonly string[],
  compose: (password: Buffer) => readonly (Buffer | string)[],
): ParsedHash {
  if (digest.length !== digestBytes[hash]) throw new HashRefusal("unusable", "wrong digest length");
  return derived({}, secrets, digest, (password) => {
    const state = createHash(hash);
    for (const part of compose(password)) state.update(part);
    return Promise.resolve(state.digest());
  });
}

function parseLdap(encoded: string): ParsedHash {
  const [, salted, name = "", encoding = "", text = ""] = match(
    /^(?:\{ldap\})?\{(s?)(md5|sha(?:256|384|512)?)(?:\.(hex|b64))?\}([^{}]+)$/i,
    encoded,
  );
  const hash = (/^sha$/i.test(name) ? "sha1" : name.toLowerCase()) as Digest;
  const bytes = /^hex$/i.test(encoding) ? hex(text) : base64(text);
  const salt = bytes.subarray(digestBytes[hash]);
  if (salt.length > 0 !== Boolean(salted)) throw new HashRefusal("unusable", "malformed salt");
  const digest = bytes.subarray(0, digestBytes[hash]);
  return digestHash(hash, digest, [text], (password) => [password, salt]);
}

const springDigests = { MD5: "md5", "SHA-1": "sha1", "SHA-256": "sha256" } as const;

function parseSpringDigest(encoded: string): ParsedHash {
  const [, id, braced = "", salt = "", text = ""] = match(
    /^\{(MD5|SHA-1|SHA-256)\}(\{([^{}]*)\})?([0-9a-f]+)$/,
    encoded,
  );
  const hash = springDigests[id as keyof typeof springDigests];
  return digestHash(hash, hex(text), [salt, text], (password) => [password, braced]);
}

const springRounds = 1024;

/** Salt and digest in one text; 1,024 rounds. */
function parseSpringSha256(encoded: string): ParsedHash {
  const [, salt = "", text = ""] = match(/^\{sha256\}([0-9a-f]{16})([0-9a-f]{64})$/, encoded);
  return derived({}, [salt, text], hex(text), async (password) =>
    Buffer.from(await computeInThread("saltedDigest", "sha256", password, hex(salt), springRounds)),
  );
}

/** Django's digest of salt and password, or Werkzeug's HMAC keyed with the salt: both have this form, so try both. */
function parseDjango(encoded: string): ParsedHash {
  const [, hash = "", salt = "", text = ""] = match(/^(md5|sha1)\$([^$]*)\$([0-9a-f]+)$/, encoded);
  const ofDjango = digestHash(hash as Digest, hex(text), [salt, text], (password) => [
    salt,
    password,
  ]);
  if (salt === "") return ofDjango;
  const ofWerkzeug = hmacHash(hash as Digest, salt, text, [salt, text]);
  return {
    ...ofDjango,
    verify: async (password) => {
      const fits = await Promise.all([ofDjango.verify(password), ofWerkzeug.verify(password)]);
      return fits.includes(true);
    },
  };
}

/** An HMAC of the password. */
function hmacHash(
  hash: Digest,
  key: string | Buffer,
  text: string,
  secrets: readonly string[],
): ParsedHash {
  const digest = hex(text);
  if (digest.length !== digestBytes[hash]) throw new HashRefusal("unusable", "wrong digest length");
  return derived({}, secrets, digest, (password) =>
    Promise.resolve(createHmac(hash, key).update(password).digest()),
  );
}

/** An HMAC with a key in the hash. The digest is in hexadecimal, and that text in base64. */
function parseKeyed(encoded: string): ParsedHash {
  const [, hash, text = "", key = ""] = match(
    /^\$hmac-(md5|sha1|sha224|sha256|sha384|sha512)\$([^$]+)\$([^$]+)$/,
    encoded,
  );
  const digest = base64(text).toString().toLowerCase();
  // A decoy keeps the digest, because a random one would have to be hexadecimal in base64.
  return hmacHash(hash as Digest, base64(key), digest, [key]);
}

function parseWerkzeug(encoded: string): ParsedHash {
  const [, hash, salt = "", text = ""] = match(
    /^(sha224|sha256|sha384|sha512)\$([^$]+)\$([0-9a-f]+)$/,
    encoded,
  );
  return hmacHash(hash as Digest, salt, text, [salt, text]);
}

/** An unsalted MD5, in hexadecimal (PLAIN-MD5) or base64 (LDAP-MD5). */
function parseDovecotMd5(encoded: string): ParsedHash {
  const [, name = "", text = ""] = match(/^\{(plain|ldap)-md5\}(.+)$/i, encoded);
  const digest = name.toLowerCase() === "plain" ? hex(text) : base64(text);
  return digestHash("md5", digest, [text], (password) => [password]);
}

const shiroDigests = {
  MD5: "md5",
  "SHA-1": "sha1",
  "SHA-256": "sha256",
  "SHA-384": "sha384",
  "SHA-512": "sha512",
} as const;
/** Shiro's default is 500,000. */
const shiroRoundsMax = 1_000_000;

/** A digest of salt and password, hashed repeatedly. */
function parseShiro(encoded: string): ParsedHash {
  const [, name = "", digits, salt = "", text = ""] = match(
    /^\$shiro1\$(MD5|SHA-1|SHA-256|SHA-384|SHA-512)\$([1-9]\d*)\$([^$]*)\$([^$]+)$/,
    encoded,
  );
  const hash = shiroDigests[name as keyof typeof shiroDigests];
  const rounds = bounded("rounds", Number(digits), 1, shiroRoundsMax);
  const digest = base64(text);
  if (digest.length !== digestBytes[hash]) throw new HashRefusal("unusable", "wrong digest length");
  return derived({ rounds }, [salt, text], digest, (password) =>
    computeInThread("saltedDigest", hash, password, base64(salt), rounds),
  );
}

/** `pf` is a template in base64 with the placeholders `{SALT}` and `{PASSWORD}`. */
function parseTemplate(encoded: string): ParsedHash {
  const [, hash, pf = "", saltText = "", digest = ""] = match(
    /^\$(md5|sha1|sha256|sha512)\$(?:pf=([^$]+)\$([^$]*)\$)?([^$]+)$/,
    encoded,
  );
  const template = pf ? base64(pf).toString() : "{PASSWORD}";
  if (!template.includes("{PASSWORD}")) {
    throw new HashRefusal("unusable", "template without {PASSWORD}");
  }
  const parts = template.split(/(\{SALT\}|\{PASSWORD\})/);
  const salt = base64(saltText);
  return digestHash(hash as Digest, base64(digest), [saltText, digest], (password) =>
    parts.map((part) => (part === "{SALT}" ? salt : part === "{PASSWORD}" ? password : part)),
  );
}

const ceiling = "none needed";

export const digestFamilies: readonly HashFamily[] = [
  {
    name: "sha (LDAP)",
    form: "{SSHA256}……",
    source:
      "LDAP, Dovecot: {SHA}, {SSHA}, {SHA256}, {SSHA256}, {SHA384}, {SSHA384}, {SHA512}, {SSHA512}, with `.HEX` and `.B64`; Spring `{ldap}…`",
    ceiling,
    prefix: /^(?:\{ldap\})?\{s?sha(?:256|384|512)?(?:\.hex|\.b64)?\}(?![0-9a-f]{80}$)/i,
    parse: parseLdap,
  },
  {
    name: "md5 (LDAP)",
    form: "{SMD5}……",
    source: "LDAP, Dovecot: {MD5}, {SMD5}, with `.HEX` and `.B64`",
    ceiling,
    prefix:
      /^(?:\{ldap\})?\{(?:smd5|smd5\.(?:hex|b64)|md5\.(?:hex|b64))\}|^\{md5\}[A-Za-z0-9+/]{22}==$/i,
    parse: parseLdap,
  },
  {
    name: "md5 (Dovecot)",
    form: "{PLAIN-MD5}…",
    source: "Dovecot: {PLAIN-MD5}, {LDAP-MD5}",
    ceiling,
    prefix: /^\{(?:plain|ldap)-md5\}/i,
    parse: parseDovecotMd5,
  },
  {
    name: "digest (Shiro)",
    form: "$shiro1$SHA-256$500000$…$…",
    source: "Apache Shiro 1, Nexus Repository: MD5, SHA-1, SHA-256, SHA-384, SHA-512",
    ceiling: `rounds ${shiroRoundsMax}`,
    prefix: /^\$shiro1\$/,
    parse: parseShiro,
  },
  {
    name: "hmac (Werkzeug)",
    form: "sha256$…$…",
    source: "Werkzeug before 2.3: sha224, sha256, sha384, sha512",
    ceiling,
    prefix: /^(?:sha224|sha256|sha384|sha512)\$/,
    parse: parseWerkzeug,
  },
  {
    name: "hmac",
    form: "$hmac-sha256$…$…",
    source: "MD5, SHA-1 and SHA-2, as Ory Kratos has them; Auth0 by import",
    ceiling,
    prefix: /^\$hmac-/,
    parse: parseKeyed,
  },
  {
    name: "digest (Spring)",
    form: "{SHA-256}{…}…",
    source: "Spring: {MD5}, {SHA-1}, {SHA-256}",
    ceiling,
    prefix: /^\{(?:MD5|SHA-1|SHA-256)\}/,
    parse: parseSpringDigest,
  },
  {
    name: "sha256 (Spring)",
    form: "{sha256}……",
    source: "Spring's StandardPasswordEncoder",
    ceiling: "fixed: 1024 rounds",
    prefix: /^\{sha256\}[0-9a-f]{80}$/,
    parse: parseSpringSha256,
  },
  {
    name: "digest (Django, Werkzeug)",
    form: "md5$…$…",
    source: "md5 and sha1 of Django and of Werkzeug, which are told apart by trying",
    ceiling,
    prefix: /^(?:md5|sha1)\$/,
    parse: parseDjango,
  },
  {
    name: "digest (template)",
    form: "$sha256$pf=template$…$…",
    source:
      "MD5, SHA-1, SHA-256, SHA-512 over any mix of salt and password, as Ory Kratos has them",
    ceiling,
    prefix: /^\$(?:md5|sha1|sha256|sha512)\$/,
    parse: parseTemplate,
  },
];
