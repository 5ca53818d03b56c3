/**
 * Password hashes: inspects a stored one, checks a password against it, and makes decoys for unknown users. The
 * families are the rows of passwords/families.ts. Depends on node:crypto; hashes are computed in the threads of
 * passwords/thread.ts.
 */
import { createHmac, randomBytes } from "node:crypto";
import { hashArgon2id, ourCost } from "./argon2.js";
import { families } from "./families.js";
import { HashRefusal, type ParsedHash } from "./family.js";
import { fittingFormats } from "./format.js";
import type { UsernameKey } from "../usernames.js";

/** A report on a stored hash, made without computing it. */
export interface HashReport {
  /** The name of its row in the table; undefined if no row recognises it. */
  readonly family: string | undefined;
  /** The cost parameters by the format's own names; empty unless the verdict is `ok`. */
  readonly cost: Readonly<Record<string, number>>;
  /** `ok`: a login can succeed. `over_ceiling`: too costly to compute. `unusable`: anything else. */
  readonly verdict: "ok" | "over_ceiling" | "unusable";
  /** Why the verdict is not `ok`; never quotes the hash. */
  readonly reason: string | undefined;
  /** Whether a new hash of Latchkey's would be stronger. */
  readonly weak: boolean;
  /** The assumed format, if the hash does not name its own. */
  readonly assumed?: string | undefined;
}

/** The longest stored hash that is parsed, in UTF-16 code units. */
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
  if (fitting.length === 0) return "not in a known hash format";
  return `does not name its hash format; judging by its shape, USERS_PASSWORD_FORMAT may be one of: ${fitting.join(" | ")}`;
}

/** Says which family a stored hash belongs to, and whether a login with it can succeed. Computes nothing. */
export function inspectHash(encoded: string): HashReport {
  return read(encoded).report;
}

/** Whether the stored text says that there is no password, like Django's `!…` and `!` and `*` of crypt(3). */
export const marksNoPassword = (encoded: string) => /^[!*]/.test(encoded);

/**
 * Whether a new hash should be stored after a successful login: if the stored one is weaker than Latchkey's, and
 * no other password fits it too.
 */
export function needsRehash(encoded: string, password: string): boolean {
  const { report, parsed } = read(encoded);
  return report.weak && (parsed?.isExact?.(password) ?? true);
}

/**
 * Resolves with whether the password fits the stored hash. Never rejects because of the hash: if it is absent,
 * malformed or too costly, computes `decoyHash` and resolves with false. A password with a NUL is wrong, and
 * costs as much as any other.
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
    // The library has refused the hash: the login fails like any other.
  }
  await read(decoyHash).parsed?.verify(bytes);
  return false;
}

/** Computes a new hash: argon2id with m=19456, t=2, p=1. The caller has to refuse passwords with a NUL. */
export function hashPassword(password: string): Promise<string> {
  return hashArgon2id(Buffer.from(password));
}

/**
 * Makes a hash of the same family and cost to which nobody knows a password, without computing one. Undefined if
 * the sample itself cannot be checked.
 */
export function decoyLike(encoded: string): string | undefined {
  return read(encoded).parsed?.secrets.reduce((decoy, secret) => {
    const at = decoy.lastIndexOf(secret);
    return decoy.slice(0, at) + scrambled(secret) + decoy.slice(at + secret.length);
  }, encoded);
}

/** Random text of the same length and alphabet. Keeps the last character, which holds padding bits. */
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

/** Gives the hash against which a login is checked if there is no usable one. */
export interface Decoy {
  /** The hash to compute for a username. The same name always gets the same family and cost. */
  hashFor(username: string): string;
  /**
   * From now on distributes usernames over the families and costs of `sample`, hashes drawn at random from the
   * store, in their proportions. Leaves out hashes that cannot be checked; if none is left, all names get
   * Latchkey's own cost.
   *
   * @param key the secret that decides which name gets which hash. All replicas must share it, or an unknown name
   *   would have a different cost on each.
   */
  follow(sample: readonly string[], key: Uint8Array): void;
}

/**
 * Creates a decoy of Latchkey's own family and cost, until `follow` is called.
 *
 * @param usernameKey maps all spellings of a user's name to one key, so that they get the same decoy. Any other
 *   name gets a decoy by chance, whether or not it resembles the name of a user.
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
        // Sorted, so that a new sample of the same users changes the decoy of few names.
        .sort((a, b) => (a.label < b.label ? -1 : Number(a.label > b.label)))
        .map(({ hash }) => hash);
    },
  };
}

function costLabel(hash: string): string {
  const { family, cost } = inspectHash(hash);
  return JSON.stringify([family, cost]);
}
