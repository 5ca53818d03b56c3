/**
 * The hashes of crypt(3) and phpass, computed in a thread.
 */
import { type HashFamily, type ParsedHash, bounded, derived, match } from "./family.js";
import { computeInThread } from "./thread.js";

/** passlib's default for `$6$`, the highest in use, is 656,000. */
const roundsMax = 1_000_000;
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

const itoa64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

function parsePhpass(encoded: string): ParsedHash {
  const [, log2 = "", salt = "", digest = ""] = match(
    /^\$[PH]\$([./A-Za-z0-9])([./A-Za-z0-9]{8})([./A-Za-z0-9]{22})$/,
    encoded,
  );
  const rounds = 2 ** bounded("log2 of rounds", itoa64.indexOf(log2), 7, phpassRoundsLog2Max);
  return cryptHash({ rounds }, salt, digest, (password, bytes) =>
    computeInThread("phpass", password, bytes, rounds),
  );
}

export const cryptFamilies: readonly HashFamily[] = [
  {
    name: "md5-crypt",
    form: "$1$…$…",
    source: "crypt(3), `$apr1$` of Apache",
    ceiling: "fixed: 1000 rounds",
    prefix: /^(?:\{crypt\})?\$(?:1|apr1)\$/i,
    parse: parseMd5,
  },
  {
    name: "sha256-crypt",
    form: "$5$rounds=535000$…$…",
    source: "crypt(3), passlib",
    ceiling: `rounds ${roundsMax}`,
    prefix: /^(?:\{crypt\})?\$5\$/i,
    parse: parseSha,
  },
  {
    name: "sha512-crypt",
    form: "$6$rounds=656000$…$…",
    source: "crypt(3), passlib",
    ceiling: `rounds ${roundsMax}`,
    prefix: /^(?:\{crypt\})?\$6\$/i,
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
];
