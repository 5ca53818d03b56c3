/** The index on the username: made where the collection is ours, else only looked at. Depends on mongodb. */
import { MongoServerError } from "mongodb";
import type { Collection, CollationOptions, Document } from "mongodb";
import { withDeadline } from "../unavailable.js";
import type { UserDocument, UserMapping } from "./document.js";

const namespaceNotFound = 26;
/** Not allowed to; an index of that name or key is there, but another one; duplicates. */
const indexRefused: unknown[] = [13, 85, 86, 11_000];

export class UsernameIndex {
  readonly #collection: Collection<UserDocument>;
  readonly #field: string;
  readonly #collation: CollationOptions | undefined;
  readonly #deadlineMs: number;
  #prepared: Promise<void> | undefined;

  constructor(
    collection: Collection<UserDocument>,
    { fields, collation }: UserMapping,
    deadlineMs: number,
  ) {
    this.#collection = collection;
    this.#field = fields.username;
    this.#collation = collation;
    this.#deadlineMs = deadlineMs;
  }

  /** Makes the index if the collection is empty, once; failing, the next call tries again. */
  prepare(): Promise<void> {
    this.#prepared ??= withDeadline(this.#deadlineMs, this.#create()).catch((error: unknown) => {
      this.#prepared = undefined;
      throw error;
    });
    return this.#prepared;
  }

  async #create(): Promise<void> {
    if ((await this.#collection.findOne({}, { projection: { _id: 1 } })) !== null) return;
    try {
      await this.create();
    } catch (error) {
      if (!(error instanceof MongoServerError) || !indexRefused.includes(error.code)) throw error;
    }
  }

  /** @throws MongoServerError 11000 where usernames occur twice. */
  async create(): Promise<void> {
    const name = `${this.#field}_latchkey_strength_${this.#collation?.strength ?? 3}`;
    const collation = this.#collation && { collation: this.#collation, name };
    await this.#collection.createIndex(
      { [this.#field]: 1 },
      { unique: true, ...collation },
      undefined,
    );
  }

  async warnings(): Promise<string[]> {
    await this.prepare();
    const where = `the field ${this.#field} of the collection ${this.#collection.collectionName}`;
    return [
      ...((await this.isUnique())
        ? []
        : [`no unique index on ${where}: two users may get one username`]),
      ...((await this.#usable()).length > 0
        ? []
        : [`no index on ${where}: every login reads the whole collection`]),
    ];
  }

  async isUnique(): Promise<boolean> {
    return (await this.#usable()).some(
      ({ key, unique }) => unique === true && Object.keys(key).length === 1,
    );
  }

  /** The indexes that a search for a username can use. */
  async #usable() {
    return (await this.#indexes()).filter(
      ({ key, hidden, partialFilterExpression, collation }) =>
        Object.keys(key)[0] === this.#field &&
        !hidden &&
        this.#holdsStrings(partialFilterExpression) &&
        collation?.["locale"] === this.#collation?.locale &&
        collation?.["strength"] === this.#collation?.strength,
    );
  }

  /** Whether an index that is partial has every string nonetheless, as Django's. */
  #holdsStrings(filter: Document | undefined): boolean {
    const isOf = (condition: Document) =>
      JSON.stringify(filter) === JSON.stringify({ [this.#field]: condition });
    return filter === undefined || isOf({ $type: "string" }) || isOf({ $exists: true });
  }

  async #indexes() {
    try {
      return await this.#collection.indexes();
    } catch (error) {
      if (error instanceof MongoServerError && error.code === namespaceNotFound) return [];
      throw error;
    }
  }
}
