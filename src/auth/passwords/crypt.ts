/** The hashes of crypt(3) and phpass, computed in a thread. */
import { createHash } from "node:crypto";
import { type HashFamily, type ParsedHash, bounded, derived, match, prehashed } from "./family.js";
import { computeInThread } from "./thread.js";

/** The highest default in use is passlib's for `$6$`: 656,000. */
const roundsMax = 1_000_000;
/** Rounds of HMAC. passlib's default for `$sha1$` is 480,000. */
const hmacRoundsMax = 500_000;
/** passlib's default is 2^19. */
const phpassRoundsLog2Max = 20;

function cryptHash(
  cost: ParsedHash["cost"],
  salt: string,
  digest: string,
  compute: (password: Buffer, salt: Buffer) => Promise<string>,
): ParsedHash {
  return derived(cost, [salt, digest], Buffer.from(digest), async (password) =>
    Buffer.from(await compute(password, Buffer.from(salt))),
  );
}

function parseMd5(encoded: string): ParsedHash {
  const [, magic = "", salt = "", digest = ""] = match(
    /^(?:\{[^{}]*\})?(\$(?:1|apr1)\$)([^$:]{0,8})\$([./A-Za-z0-9]{22})$/,
    encoded,
  );
  return cryptHash({}, salt, digest, (password, bytes) =>
    computeInThread("md5Crypt", password, bytes, magic),
  );
}

function parseSha(encoded: string): ParsedHash {
  const [, id, explicit, salt = "", digest = ""] = match(
    /^(?:\{[^{}]*\})?\$([56])\$(?:rounds=([1-9]\d*)\$)?([^$:]{0,16})\$([./A-Za-z0-9]{43}|[./A-Za-z0-9]{86})$/,
    encoded,
  );
  const rounds = bounded("rounds", Number(explicit || 5000), 1000, roundsMax);
  return cryptHash({ rounds }, salt, digest, (password, bytes) =>
    computeInThread("shaCrypt", id === "5" ? "sha256" : "sha512", password, bytes, rounds),
  );
}

function parseSha1(encoded: string): ParsedHash {
  const [, digits, salt = "", digest = ""] = match(
    /^(?:\{[^{}]*\})?\$sha1\$([1-9]\d*)\$([./A-Za-z0-9]{0,64})\$([./A-Za-z0-9]{28})$/,
    encoded,
  );
  const rounds = bounded("rounds", Number(digits), 1, hmacRoundsMax);
  return cryptHash({ rounds }, salt, digest, (password, bytes) =>
    computeInThread("sha1Crypt", password, bytes, rounds),
  );
}

const itoa64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

function parsePhpass(encoded: string): ParsedHash {
  const [, log2 = "", salt = "", digest = ""] = match(
    /^\$[PH]\$([./A-Za-z0-9])([./A-Za-z0-9]{8})([./A-Za-z0-9]{22})$/,
    encoded,
  );
  const rounds = 2 ** bounded("log2 of rounds", itoa64.indexOf(log2), 7, phpassRoundsLog2Max);
  return cryptHash({ rounds }, salt, digest, (password, bytes) =>
    computeInThread("phpass", "md5", password, bytes, rounds),
  );
}

/** phpass with SHA-512, cut to 43 characters of digest. */
function parseDrupal(encoded: string): ParsedHash {
  const [, log2 = "", salt = "", digest = ""] = match(
    /^\$S\$([./A-Za-z0-9])([./A-Za-z0-9]{8})([./A-Za-z0-9]{43})$/,
    encoded,
  );
  const rounds = 2 ** bounded("log2 of rounds", itoa64.indexOf(log2), 7, phpassRoundsLog2Max);
  return cryptHash({ rounds }, salt, digest, async (password, bytes) => {
    const whole = await computeInThread("phpass", "sha512", password, bytes, rounds);
    return whole.slice(0, digest.length);
  });
}

/** A hash of the MD5 that Drupal 6 stored, made when the site was upgraded. */
function parseDrupalUpgraded(encoded: string): ParsedHash {
  const inner = encoded.slice(1);
  return prehashed(inner.startsWith("$S$") ? parseDrupal(inner) : parsePhpass(inner), md5Hex);
}

const md5Hex = (password: Buffer) => createHash("md5").update(password).digest("hex");

export const cryptFamilies: readonly HashFamily[] = [
  {
    name: "md5-crypt",
    form: "$1$…$…",
    source: "crypt(3), `$apr1$` of Apache; Dovecot `{MD5-CRYPT}…`",
    ceiling: "fixed: 1000 rounds",
    prefix: /^(?:\{(?:md5-)?crypt\}|\{md5\})?\$(?:1|apr1)\$/i,
    parse: parseMd5,
  },
  {
    name: "sha256-crypt",
    form: "$5$rounds=535000$…$…",
    source: "crypt(3), passlib; Dovecot `{SHA256-CRYPT}…`",
    ceiling: `rounds ${roundsMax}`,
    prefix: /^(?:\{(?:sha256-)?crypt\})?\$5\$/i,
    parse: parseSha,
  },
  {
    name: "sha512-crypt",
    form: "$6$rounds=656000$…$…",
    source: "crypt(3), passlib; Dovecot `{SHA512-CRYPT}…`",
    ceiling: `rounds ${roundsMax}`,
    prefix: /^(?:\{(?:sha512-)?crypt\})?\$6\$/i,
    parse: parseSha,
  },
  {
    name: "phpass",
    form: "$P$B……",
    source: "WordPress before 6.8, phpBB `$H$`",
    ceiling: `2^${phpassRoundsLog2Max} rounds`,
    prefix: /^\$[PH]\$/,
    parse: parsePhpass,
  },
  {
    name: "sha512 (Drupal)",
    form: "$S$D……",
    source: "Drupal 7 to 10.0",
    ceiling: `2^${phpassRoundsLog2Max} rounds`,
    prefix: /^\$S\$/,
    parse: parseDrupal,
  },
  {
    name: "md5 in sha512 (Drupal)",
    form: "U$S$D……",
    source: "Drupal 7, of a site that was Drupal 6; also `U$P$…`",
    ceiling: `2^${phpassRoundsLog2Max} rounds`,
    prefix: /^U\$[SPH]\$/,
    parse: parseDrupalUpgraded,
  },
  {
    name: "sha1-crypt",
    form: "$sha1$480000$…$…",
    source: "crypt(3) of NetBSD, passlib",
    ceiling: `rounds ${hmacRoundsMax}`,
    prefix: /^(?:\{crypt\})?\$sha1\$\d+\$/i,
    parse: parseSha1,
  },
];
