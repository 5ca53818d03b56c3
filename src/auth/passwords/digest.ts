/**
 * Single digests, with a salt or without: LDAP, Spring's oldest, Django's oldest, and templates as
 * Ory Kratos has them. Depends on node:crypto.
 */
import { createHash } from "node:crypto";
import { type HashFamily, HashRefusal, type ParsedHash, base64, derived, match } from "./family.js";
import { computeInThread } from "./thread.js";

const digestBytes = { md5: 16, sha1: 20, sha256: 32, sha512: 64 } as const;
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
  const [, salted, bits, text = ""] = match(
    /^(?:\{ldap\})?\{(s?)sha(256|512)?\}([^{}]+)$/i,
    encoded,
  );
  const hash = `sha${bits || "1"}` as Digest;
  const bytes = base64(text);
  const salt = bytes.subarray(digestBytes[hash]);
  if (salt.length > 0 !== Boolean(salted)) throw new HashRefusal("unusable", "malformed salt");
  const digest = bytes.subarray(0, digestBytes[hash]);
  return digestHash(hash, digest, [text], (password) => [password, salt]);
}

const springDigests = { MD5: "md5", "SHA-1": "sha1", "SHA-256": "sha256" } as const;

function parseSpringDigest(encoded: string): ParsedHash {
  const [, id, braced = "", salt = "", hex = ""] = match(
    /^\{(MD5|SHA-1|SHA-256)\}(\{([^{}]*)\})?([0-9a-f]+)$/,
    encoded,
  );
  const hash = springDigests[id as keyof typeof springDigests];
  return digestHash(hash, Buffer.from(hex, "hex"), [salt, hex], (password) => [password, braced]);
}

/** Salt and digest in one; 1,024 rounds. */
function parseSpringSha256(encoded: string): ParsedHash {
  const [, salt = "", hex = ""] = match(/^\{sha256\}([0-9a-f]{16})([0-9a-f]{64})$/, encoded);
  return derived({}, [salt, hex], Buffer.from(hex), async (password) =>
    Buffer.from(await computeInThread("springSha256", password, Buffer.from(salt, "hex"))),
  );
}

function parseDjango(encoded: string): ParsedHash {
  const [, hash, salt = "", hex = ""] = match(/^(md5|sha1)\$([^$]*)\$([0-9a-f]+)$/, encoded);
  return digestHash(hash as Digest, Buffer.from(hex, "hex"), [salt, hex], (password) => [
    salt,
    password,
  ]);
}

/** `pf` is a text in base64 in which `{SALT}` and `{PASSWORD}` stand for themselves. */
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
    source: "LDAP: {SHA}, {SSHA}, {SSHA256}, {SSHA512}; Spring `{ldap}…`",
    ceiling,
    prefix: /^(?:\{ldap\})?\{s?sha(?:256|512)?\}(?![0-9a-f]{80}$)/i,
    parse: parseLdap,
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
    name: "digest (Django)",
    form: "md5$…$…",
    source: "Django: md5, sha1",
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
