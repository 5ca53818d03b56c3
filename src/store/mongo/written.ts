/** Inserts a document, and compares stored documents with written ones. Depends on mongodb and its neighbours. */
import { BSON } from "mongodb";
import type { Collection, Document, OptionalUnlessRequiredId } from "mongodb";
import { at } from "./document.js";
import { isDuplicateKey } from "./failures.js";

/** Resolves with false if the `_id` is taken, even by an earlier attempt of this process whose answer was lost. */
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

/** Numbers are compared by value: the driver may read back another number type than was written. */
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
