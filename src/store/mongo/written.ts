/** Whether a document is as it was written. Depends on mongodb's BSON types. */
import { BSON } from "mongodb";
import type { Document } from "mongodb";
import { at } from "./document.js";

/** Numbers are compared by value: the driver reads a 64-bit one as it would any other. */
const textOf = (value: unknown) => BSON.EJSON.stringify({ value }, { relaxed: true });

export const isEqual = (a: unknown, b: unknown) => textOf(a) === textOf(b);

/** Whether an update by `$set` and `$unset` would change nothing. */
export function hasUpdate(document: Document, update: Document): boolean {
  const { $set = {}, $unset = {} } = update as { $set?: Document; $unset?: Document };
  return (
    Object.entries($set).every(([path, value]) => isEqual(at(document, path), value)) &&
    Object.keys($unset).every((path) => at(document, path) === undefined)
  );
}
