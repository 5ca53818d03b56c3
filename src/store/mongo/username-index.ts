/** The index on the username: created in an empty collection, else only inspected. Depends on mongodb. */
import { MongoServerError } from "mongodb";
import type { Collection, CollationOptions, Document, IndexDescriptionInfo } from "mongodb";
import { withDeadline } from "../unavailable.js";
import type { UserDocument, UserMapping } from "./document.js";
import { duplicateKey, isPassing, isUnconfirmed } from "./failures.js";

const namespaceNotFound = 26;
const unauthorized = 13;
const namesMax = 5;

export class UsernameIndex {
  readonly #collection: Collection<UserDocument>;
  readonly #field: string;
  readonly #collation: CollationOptions | undefined;
  readonly #deadlineMs: number;
  readonly #mayCreate: boolean;
  #refusal: string | undefined;
  #prepared: Promise<void> | undefined;

  constructor(
    collection: Collection<UserDocument>,
    { indexPath, collation }: UserMapping,
    options: { readonly deadlineMs: number; readonly mayCreate: boolean },
  ) {
    this.#collection = collection;
    this.#field = indexPath;
    this.#collation = collation;
    this.#deadlineMs = options.deadlineMs;
    this.#mayCreate = options.mayCreate;
  }

  /**
   * Makes the index if the collection is empty, once. If MongoDB refuses it, that becomes a warning and it is
   * not tried again; after any other failure the next call tries again.
   */
  prepare(): Promise<void> {
    this.#prepared ??= withDeadline(this.#deadlineMs, this.#prepare()).catch((error: unknown) => {
      this.#prepared = undefined;
      throw error;
    });
    return this.#prepared;
  }

  async #prepare(): Promise<void> {
    if (!this.#mayCreate || !(await this.isEmpty())) return;
    this.#refusal = await this.create();
  }

  /** Whether the collection has no document, or does not exist. */
  async isEmpty(): Promise<boolean> {
    return (await this.#collection.findOne({}, { projection: { _id: 1 } })) === null;
  }

  /** Makes the index. Resolves with why MongoDB refuses it, or with undefined if it is made. */
  async create(): Promise<string | undefined> {
    const collation = this.#collation && { collation: this.#collation };
    const name = `${this.#field}_latchkey_strength_${this.#collation?.strength ?? 3}`;
    let refusal: string | undefined;
    for (const options of [
      collation ? { ...collation, name } : {},
      // A sparse index leaves out documents without a username, which a full one takes for duplicates.
      { ...collation, name: `${name}_sparse`, sparse: true },
    ]) {
      try {
        const spec = { [this.#field]: 1 };
        await this.#collection.createIndex(spec, { unique: true, ...options }, undefined);
        return undefined;
      } catch (error) {
        if (!(error instanceof MongoServerError) || isPassing(error) || isUnconfirmed(error)) {
          throw error;
        }
        refusal ??= refusalOf(error);
      }
    }
    return refusal;
  }

  async warnings(): Promise<string[]> {
    await this.prepare();
    const where = `the field ${this.#field} of the collection ${this.#collection.collectionName}`;
    const usable = await this.usable();
    if (usable === undefined) return [`${unlisted}: it is not known whether logins use an index`];
    const refusal =
      this.#refusal === undefined ? "" : ` (MongoDB refuses to make it: ${this.#refusal})`;
    return [
      ...(usable.some(isUniqueAlone)
        ? []
        : [`no unique index on ${where}${refusal}: two users may get one username`]),
      ...(usable.length > 0
        ? []
        : [`no index on ${where}: every login reads the whole collection`]),
    ];
  }

  /** Whether there is a unique index on the username. False too if we may not list the indexes. */
  async isUnique(): Promise<boolean> {
    return ((await this.usable()) ?? []).some(isUniqueAlone);
  }

  /** The names of the unique indexes on other fields. */
  async otherUnique(): Promise<string[]> {
    return ((await this.#indexes()) ?? []).flatMap(({ name, key, unique }) =>
      unique === true && Object.keys(key)[0] !== this.#field ? (name ?? []) : [],
    );
  }

  /** The indexes on the username that a login cannot use, or that allow two users of one name. */
  async unusable(): Promise<string[]> {
    const usable = ((await this.usable()) ?? []).filter(isUniqueAlone);
    return ((await this.#indexes()) ?? [])
      .filter((each) => Object.keys(each.key)[0] === this.#field)
      .filter(({ name }) => !usable.some((other) => other.name === name))
      .map(({ name = "" }) => name)
      .slice(0, namesMax);
  }

  /** The indexes that a login can use; undefined if we may not list them. */
  async usable(): Promise<IndexDescriptionInfo[] | undefined> {
    return (await this.#indexes())?.filter(
      ({ key, hidden, partialFilterExpression, collation }) =>
        Object.keys(key)[0] === this.#field &&
        !hidden &&
        this.#holdsStrings(partialFilterExpression) &&
        collation?.["locale"] === this.#collation?.locale &&
        collation?.["strength"] === this.#collation?.strength,
    );
  }

  /** Whether a partial index has every string nevertheless, as Django's does. */
  #holdsStrings(filter: Document | undefined): boolean {
    const isOf = (condition: Document) =>
      JSON.stringify(filter) === JSON.stringify({ [this.#field]: condition });
    return filter === undefined || isOf({ $type: "string" }) || isOf({ $exists: true });
  }

  async #indexes(): Promise<IndexDescriptionInfo[] | undefined> {
    try {
      return await this.#collection.indexes();
    } catch (error) {
      const code = error instanceof MongoServerError ? error.code : undefined;
      if (code === namespaceNotFound) return [];
      if (code === unauthorized) return undefined;
      throw error;
    }
  }
}

export const unlisted = "the user of MONGODB_URI may not list the indexes: grant listIndexes";

const isUniqueAlone = ({ key, unique }: IndexDescriptionInfo) =>
  unique === true && Object.keys(key).length === 1;

const refusals: Readonly<Record<number, string>> = {
  13: "the user of MONGODB_URI lacks createIndex",
  67: "a sharded collection can have a unique index on its shard key alone, see docs/operations.md",
  85: "there is an index like it with other options; drop that one first",
  86: "there is another index of this name; drop that one first",
  [duplicateKey]:
    "two documents have the same value there; documents without a username count as the same",
};

const refusalOf = ({ code, message }: MongoServerError) =>
  refusals[Number(code)] ?? `code ${String(code)}, ${message}`;
