/** Writes a document once, and tells whether one is as it was written. Depends on mongodb and its neighbours. */
import { BSON } from "mongodb";
import type { Collection, Document, OptionalUnlessRequiredId } from "mongodb";
import { at } from "./document.js";
import { isDuplicateKey } from "./failures.js";

/** False where its `_id` is taken: also where a first attempt has written it, whose answer was lost. */
export async function insertNew<T extends Document>(
  collection: Collection<T>,
  document: OptionalUnlessRequiredId<T>,
): Promise<boolean> {
  try {
    await collection.insertOne(document);
    return true;
  } catch (error) {
    if (isDuplicateKey(error)) return false;
    throw error;
  }
}

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
