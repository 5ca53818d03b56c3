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
  /** The cost parameters by the names that the format itself uses. */
  readonly cost: Readonly<Record<string, number>>;
  /** True only where a new hash of ours would be no stronger. */
  readonly strong?: boolean;
  /** How many bytes of a password count, where not all do. */
  readonly bytesMax?: number;
  /** The encoded salt and digest: what a decoy of the same cost replaces. */
  readonly secrets: readonly string[];
  /** May reject where the library underneath finds fault with the hash after all. */
  verify(password: Buffer): Promise<boolean>;
}

/** One way in which passwords are stored. */
export interface HashFamily {
  readonly name: string;
  /** An example of the encoded form, salt and digest as `…`, for the documentation. */
  readonly form: string;
  /** Who writes it, for the documentation. */
  readonly source: string;
  /** Recognises the family, whether or not the rest of the hash is as it should be. */
  readonly prefix: RegExp;
  /** @throws HashRefusal before anything costly is done. */
  parse(encoded: string): ParsedHash;
}

/** The groups of `form` in `encoded`. @throws HashRefusal where it does not match. */
export function match(form: RegExp, encoded: string): string[] {
  const groups = form.exec(encoded);
  if (groups === null) throw new HashRefusal("unusable", "malformed or truncated");
  return groups.map((group: string | undefined) => group ?? "");
}

/** @throws HashRefusal where a cost is not within its bounds. */
export function atMost(name: string, value: number, max: number, min = 1): number {
  if (value > max) throw new HashRefusal("over_ceiling", `${name} over ${max}`);
  if (!(value >= min)) throw new HashRefusal("unusable", `${name} under ${min}`);
  return value;
}

/** Compares without telling by time where two digests differ. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
