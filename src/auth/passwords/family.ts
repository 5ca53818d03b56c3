/**
 * What a row of the table of hash families is, and the pieces that rows are made of. Depends on
 * node:crypto.
 */
import { timingSafeEqual } from "node:crypto";

/** Why a stored hash is not computed. The message names the reason and never quotes the hash. */
export class HashRefusal extends Error {
  override readonly name = "HashRefusal";
  readonly verdict: "over_ceiling" | "unusable";

  constructor(verdict: HashRefusal["verdict"], reason: string) {
    super(reason);
    this.verdict = verdict;
  }
}

/** A stored hash whose form is right and whose every cost is under its ceiling. */
export interface ParsedHash {
  /** The cost parameters by the names that the format itself uses; empty where it has none. */
  readonly cost: Readonly<Record<string, number>>;
  /** True only where a new hash of ours would be no stronger. */
  readonly strong?: boolean;
  /** Whether no other password fits too, as one that is longer or in another form; absent: always. */
  isExact?(password: string): boolean;
  /** What of its making is assumed, because the hash does not say; absent where it says all. */
  readonly assumed?: string;
  /** The salt and digest as they are in the string: what a decoy of the same cost replaces. */
  readonly secrets: readonly string[];
  /** May reject where the library underneath finds fault with the hash after all. */
  verify(password: Buffer): Promise<boolean>;
}

/** One way in which passwords are stored. */
export interface HashFamily {
  readonly name: string;
  /** The encoded form, salt and digest as `…`, for the documentation. */
  readonly form: string;
  /** Who writes it, for the documentation. */
  readonly source: string;
  /** Its ceilings, for the documentation. */
  readonly ceiling: string;
  /** Recognises the family, whether or not the rest of the hash is as it should be. */
  readonly prefix: RegExp;
  /** @throws HashRefusal before anything costly is done. */
  parse(encoded: string): ParsedHash;
}

/** The groups of `form` in `encoded`, "" for those absent. @throws HashRefusal where it does not match. */
export function match(form: RegExp, encoded: string): string[] {
  const groups = form.exec(encoded);
  if (groups === null) throw new HashRefusal("unusable", "malformed or truncated");
  return groups.map((group: string | undefined) => group ?? "");
}

/** @throws HashRefusal where a cost is not within its bounds. */
export function bounded(name: string, value: number, min: number, max: number): number {
  if (value > max) throw new HashRefusal("over_ceiling", `${name} over ${max}`);
  if (!(value >= min)) throw new HashRefusal("unusable", `${name} under ${min}`);
  return value;
}

/**
 * The bytes of base64, with padding or without, with passlib's `.` for `+` or not.
 * @throws HashRefusal where it is not base64 or has fewer than `bytesMin` bytes.
 */
export function base64(text: string, bytesMin = 0): Buffer {
  match(/^[A-Za-z0-9+/.]*={0,2}$/, text);
  const bytes = Buffer.from(text.replaceAll(".", "+"), "base64");
  if (bytes.length < bytesMin) throw new HashRefusal("unusable", "salt or digest too short");
  return bytes;
}

/** The bytes of hexadecimal, in either case. @throws HashRefusal where it is none or too short. */
export function hex(text: string, bytesMin = 0): Buffer {
  match(/^(?:[0-9a-fA-F]{2})*$/, text);
  const bytes = Buffer.from(text, "hex");
  if (bytes.length < bytesMin) throw new HashRefusal("unusable", "salt or digest too short");
  return bytes;
}

/** Fewer bytes of digest would let too many other passwords in. */
export const digestBytesMin = 16;

/** Compares without telling by time where two digests differ. */
function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** A hash that is checked by computing its digest anew. */
export function derived(
  cost: ParsedHash["cost"],
  secrets: readonly string[],
  digest: Uint8Array,
  derive: (password: Buffer) => Promise<Uint8Array>,
): ParsedHash {
  return { cost, secrets, verify: async (password) => equal(await derive(password), digest) };
}

/** A hash of what another function made of the password, so that every byte of it counts. */
export function prehashed(inner: ParsedHash, prehash: (password: Buffer) => string): ParsedHash {
  const { cost, secrets } = inner;
  return { cost, secrets, verify: (password) => inner.verify(Buffer.from(prehash(password))) };
}
