/** The hashes that others made: test/vectors/README.md says by whom and how. */
import { readFileSync, readdirSync } from "node:fs";
import * as encodings from "../../src/auth/passwords/encodings.js";

export interface HashVector {
  /** The program that made it. */
  readonly by: string;
  readonly family: string;
  readonly password: string;
  /** As a collection has it. */
  readonly hash: string;
}

/** Where a framework keeps the parts of a hash apart, a file has these, and the encoding that joins them. */
interface Line extends Omit<HashVector, "hash"> {
  readonly hash?: string;
  readonly encoding?: keyof typeof encodings;
  readonly pieces?: readonly unknown[];
}

const folder = new URL("../vectors/", import.meta.url);

export const hashVectors: readonly HashVector[] = readdirSync(folder)
  .filter((name) => /^hashes-.*\.json$/.test(name))
  .flatMap((name) => JSON.parse(readFileSync(new URL(name, folder), "utf8")) as Line[])
  .map((line) => ({ ...line, hash: line.hash ?? encoded(line) }));

function encoded({ encoding, pieces = [] }: Line): string {
  const encode = encodings[encoding ?? "meteorHash"] as (...parts: readonly unknown[]) => string;
  return encode(...pieces);
}
