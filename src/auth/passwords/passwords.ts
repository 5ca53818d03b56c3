/**
 * Password hashes: what a stored one is, whether a password fits it, and what stands in for one that
 * is not there. The families are rows in passwords/families.ts. Depends on node:crypto;
 * what takes long runs in the threads of passwords/thread.ts.
 */
import { createHmac, randomBytes } from "node:crypto";
import { hashArgon2id, ourCost } from "./argon2.js";
import { families } from "./families.js";
import { HashRefusal, type ParsedHash } from "./family.js";
import { fittingFormats } from "./format.js";
import type { UsernameKey } from "../usernames.js";

/** What can be said of a stored hash without computing it. */
export interface HashReport {
  /** The name of its row in the table; undefined where no row recognises it. */
  readonly family: string | undefined;
  /** The cost parameters by the names that the format itself uses; empty unless `ok`. */
  readonly cost: Readonly<Record<string, number>>;
  /** `ok`: a login with it can succeed. `over_ceiling`: too costly. `unusable`: all else. */
  readonly verdict: "ok" | "over_ceiling" | "unusable";
  /** Why it is not `ok`; never quotes the hash. */
  readonly reason: string | undefined;
  /** True where a new hash of ours would be stronger. */
  readonly weak: boolean;
  /** What is assumed of how it was made, where it does not say. */
  readonly assumed?: string | undefined;
}

/** Longest stored hash that is looked at, in UTF-16 code units. */
const encodedLengthMax = 2048;

function read(encoded: string): { report: HashReport; parsed?: ParsedHash } {
  const refused = (family: string | undefined, { verdict, message }: HashRefusal) => ({
    report: { family, cost: {}, verdict, reason: message, weak: false },
  });
  if (encoded.length > encodedLengthMax) {
    return refused(undefined, new HashRefusal("unusable", `longer than ${encodedLengthMax}`));
  }
  const family = families.find(({ prefix }) => prefix.test(encoded));
  if (family === undefined) {
    return refused(undefined, new HashRefusal("unusable", unknownReason(encoded)));
  }
  try {
    const parsed = family.parse(encoded);
    const { cost, strong = false, assumed } = parsed;
    return {
      report: {
        family: family.name,
        cost,
        verdict: "ok",
        reason: undefined,
        weak: !strong,
        assumed,
      },
      parsed,
    };
  } catch (error) {
    if (!(error instanceof HashRefusal)) throw error;
    return refused(family.name, error);
  }
}

function unknownReason(encoded: string): string {
  const fitting = fittingFormats(encoded);
  if (fitting.length === 0) return "no hash format that is known";
  return `no hash that says how it was made; by its shape USERS_PASSWORD_FORMAT may be one of: ${fitting.join(" | ")}`;
}

/** What a stored hash is and whether a login with it can succeed. Computes nothing. */
export function inspectHash(encoded: string): HashReport {
  return read(encoded).report;
}

/** Whether it says that there is no password, as Django's `!…` and the `!` and `*` of crypt(3) do. */
export const marksNoPassword = (encoded: string) => /^[!*]/.test(encoded);

/**
 * Whether a login that just succeeded should store a new hash: the stored one is weaker than ours,
 * and no other password fits that one too.
 */
export function needsRehash(encoded: string, password: string): boolean {
  const { report, parsed } = read(encoded);
  return report.weak && (parsed?.isExact?.(password) ?? true);
}

/**
 * Whether the password is that of the stored hash. Never throws for what is stored: a hash that is
 * absent, broken or over a ceiling answers false, after the work of `decoyHash`. A password that holds
 * a NUL is wrong, and costs what any other costs.
 */
export async function verifyPassword(
  encoded: string | undefined,
  password: string,
  decoyHash: string = ourDecoy,
): Promise<boolean> {
  const bytes = Buffer.from(password.replaceAll("\0", "\x01"));
  const parsed = encoded === undefined ? undefined : read(encoded).parsed;
  try {
    if (parsed) return (await parsed.verify(bytes)) && !password.includes("\0");
  } catch {
    // The library refused the hash: a failed login like any other.
  }
  await read(decoyHash).parsed?.verify(bytes);
  return false;
}

/** A new hash: argon2id with m=19456, t=2, p=1. The caller has refused passwords with a NUL. */
export function hashPassword(password: string): Promise<string> {
  return hashArgon2id(Buffer.from(password));
}

/**
 * A hash of the same family and cost that no password is known for, made without computing one;
 * undefined where the sample itself could not be computed.
 */
export function decoyLike(encoded: string): string | undefined {
  return read(encoded).parsed?.secrets.reduce((decoy, secret) => {
    const at = decoy.lastIndexOf(secret);
    return decoy.slice(0, at) + scrambled(secret) + decoy.slice(at + secret.length);
  }, encoded);
}

/** Random text of the same length and alphabet; the last character holds padding bits, so it stays. */
function scrambled(text: string): string {
  const alphabet = /^[0-9a-f]+$/i.test(text) ? "0123456789abcdef" : base64Characters;
  const random = randomBytes(text.length);
  return text.replace(
    /[\w./+](?=[\w./+])/g,
    (kept, index: number) => alphabet[(random[index] ?? 0) % alphabet.length] ?? kept,
  );
}

const base64Characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

const ourDecoy = `$argon2id$v=19$m=${ourCost.m},t=${ourCost.t},p=${ourCost.p}$${randomBytes(15).toString("base64")}$${randomBytes(30).toString("base64")}`;

/** What the logins that have no hash to check are checked against. */
export interface Decoy {
  /** The hash to compute for that username, always of one family and cost for one name. */
  hashFor(username: string): string;
  /**
   * From now on spreads the usernames over the families and costs of `sample`, hashes drawn at random
   * from the collection, in their proportions. Those that cannot be computed are left out; with none
   * left it is our own again.
   *
   * @param key secret that decides which name gets which; shared by the replicas, or the same unknown
   *   name would cost something else on each.
   */
  follow(sample: readonly string[], key: Uint8Array): void;
}

/**
 * Until it follows a collection it is of our own family and cost.
 *
 * @param usernameKey what two spellings of one user share. Other spellings get decoys of their own:
 *   beside an existing name they cost what a lot decides, and so they must beside an unknown one.
 */
export function createDecoy(usernameKey: UsernameKey): Decoy {
  let hashes: readonly string[] = [];
  let key: Uint8Array = randomBytes(32);
  return {
    hashFor(username) {
      const share =
        createHmac("sha256", key).update(usernameKey(username)).digest().readUInt32BE() / 2 ** 32;
      return hashes[Math.floor(share * hashes.length)] ?? ourDecoy;
    },
    follow(sample, sharedKey) {
      key = sharedKey;
      hashes = sample
        .flatMap((hash) => decoyLike(hash) ?? [])
        .map((hash) => ({ hash, label: costLabel(hash) }))
        // In an order of their own, so that another sample of one collection moves few names.
        .sort((a, b) => (a.label < b.label ? -1 : Number(a.label > b.label)))
        .map(({ hash }) => hash);
    },
  };
}

function costLabel(hash: string): string {
  const { family, cost } = inspectHash(hash);
  return JSON.stringify([family, cost]);
}
