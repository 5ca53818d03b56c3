/**
 * The type of a row in the table of hash families, and helpers that rows share. Depends on node:crypto.
 */
import { timingSafeEqual } from "node:crypto";

/** A stored hash cannot be checked. The message names the reason and never quotes the hash. */
export class HashRefusal extends Error {
  override readonly name = "HashRefusal";
  readonly verdict: "over_ceiling" | "unusable";

  constructor(verdict: HashRefusal["verdict"], reason: string) {
    super(reason);
    this.verdict = verdict;
  }
}

/** A stored hash that is well-formed and whose costs are all within their bounds. */
export interface ParsedHash {
  /** The cost parameters by the format's own names; empty if it has none. */
  readonly cost: Readonly<Record<string, number>>;
  /** True only if a new hash of Latchkey's would not be stronger. */
  readonly strong?: boolean;
  /** Whether no other password, longer or in another Unicode form, fits too. Absent: no other one ever does. */
  isExact?(password: string): boolean;
  /** The assumed format, if the hash does not name its own. */
  readonly assumed?: string;
  /** Salt and digest as they stand in the string: a decoy of the same cost replaces them. */
  readonly secrets: readonly string[];
  /** Resolves with whether the password fits. May reject if the library refuses the hash. */
  verify(password: Buffer): Promise<boolean>;
}

/** One way in which passwords are stored. */
export interface HashFamily {
  readonly name: string;
  /** For the documentation: the encoded form, with `…` for salt and digest. */
  readonly form: string;
  /** For the documentation: the software that writes it. */
  readonly source: string;
  /** For the documentation: the highest costs that are computed. */
  readonly ceiling: string;
  /** Recognises the family, even if the rest of the hash is malformed. */
  readonly prefix: RegExp;
  /** Parses and bounds the hash; computes nothing. @throws HashRefusal */
  parse(encoded: string): ParsedHash;
}

/** The groups of `form` in `encoded`, "" for absent ones. @throws HashRefusal if it does not match */
export function match(form: RegExp, encoded: string): string[] {
  const groups = form.exec(encoded);
  if (groups === null) throw new HashRefusal("unusable", "malformed or truncated");
  return groups.map((group: string | undefined) => group ?? "");
}

/** Returns `value` if it is from `min` to `max`. @throws HashRefusal if it is not */
export function bounded(name: string, value: number, min: number, max: number): number {
  if (value > max) throw new HashRefusal("over_ceiling", `${name} over ${max}`);
  if (!(value >= min)) throw new HashRefusal("unusable", `${name} under ${min}`);
  return value;
}

/**
 * Decodes base64, with or without padding, also with passlib's `.` for `+`.
 * @throws HashRefusal if it is not base64 or has fewer than `bytesMin` bytes
 */
export function base64(text: string, bytesMin = 0): Buffer {
  match(/^[A-Za-z0-9+/.]*={0,2}$/, text);
  const bytes = Buffer.from(text.replaceAll(".", "+"), "base64");
  if (bytes.length < bytesMin) throw new HashRefusal("unusable", "salt or digest too short");
  return bytes;
}

/** Decodes hexadecimal in either case. @throws HashRefusal if it is not hexadecimal or too short */
export function hex(text: string, bytesMin = 0): Buffer {
  match(/^(?:[0-9a-fA-F]{2})*$/, text);
  const bytes = Buffer.from(text, "hex");
  if (bytes.length < bytesMin) throw new HashRefusal("unusable", "salt or digest too short");
  return bytes;
}

/** A shorter digest would match too many other passwords. */
export const digestBytesMin = 16;

/** Compares two digests in constant time. */
function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** A hash that is checked by computing the digest again. */
export function derived(
  cost: ParsedHash["cost"],
  secrets: readonly string[],
  digest: Uint8Array,
  derive: (password: Buffer) => Promise<Uint8Array>,
): ParsedHash {
  return { cost, secrets, verify: async (password) => equal(await derive(password), digest) };
}

/** A hash of `prehash(password)`. It has no `isExact`, because the prehash takes in every byte. */
export function prehashed(inner: ParsedHash, prehash: (password: Buffer) => string): ParsedHash {
  const { cost, secrets } = inner;
  return { cost, secrets, verify: (password) => inner.verify(Buffer.from(prehash(password))) };
}
