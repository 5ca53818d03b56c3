/**
 * The store on MongoDB: a users collection as it is found, and a collection of our own for the keys.
 * Depends on mongodb and the domain's ports.
 */
import { randomBytes } from "node:crypto";
import { Binary, BSON, MongoServerError } from "mongodb";
import type { Collection, CollationOptions, Document } from "mongodb";
import type { KeyStore } from "../auth/keys.js";
import type { User } from "../auth/users.js";
import type { UsernameMatch } from "../auth/usernames.js";
import type { Preset } from "../presets.js";
import type { Store } from "./index.js";
import { MongoConnection, type MongoCall } from "./mongo-connection.js";
import { UserMapping } from "./mongo-document.js";
import { inspectMongo } from "./mongo-inspection.js";
import type { UserDocument, UserFields } from "./mongo-document.js";
import { MongoThrottle, type StoredThrottleDocument } from "./mongo-throttle.js";
import { MongoUsers } from "./mongo-users.js";
import { withDeadline } from "./unavailable.js";

/** How users are found in documents. */
export interface MongoMappingOptions {
  readonly fields: UserFields;
  readonly usernameMatch?: UsernameMatch;
  /** What else is particular to the collection. */
  readonly preset?: Preset | undefined;
}

export interface MongoStoreOptions extends MongoMappingOptions {
  /** A connection string with database. */
  readonly uri: string;
  readonly usersCollection: string;
  /** Time after which a call is given up. */
  readonly deadlineMs?: number;
  /** How many of the throttle's documents are kept that it can do without. */
  readonly throttleDocumentsMax?: number;
}

/**
 * Does not wait for the database, which may come and go: every call tries anew.
 * @throws MongoStoreError
 */
export function openMongoStore(options: MongoStoreOptions): Store {
  const { deadlineMs = 2500 } = options;
  const connection = new MongoConnection(options.uri, deadlineMs);
  const { db } = connection;
  const collection = db.collection<UserDocument>(options.usersCollection);
  const mapping = mappingOf(options);
  const hashes =
    mapping.hash.collection && db.collection<UserDocument>(mapping.hash.collection.name);
  const index = new UsernameIndex(collection, mapping, deadlineMs);
  const call: MongoCall = async (work) => {
    const result = await connection.call(work);
    void index.prepare().catch(() => undefined);
    return result;
  };
  return {
    users: new MongoUsers(collection, hashes, mapping, call, index),
    keys: new MongoKeys(db.collection<KeyDocument>("latchkey_keys"), call),
    throttle: new MongoThrottle(
      db.collection<StoredThrottleDocument>("latchkey_throttle"),
      call,
      options.throttleDocumentsMax,
    ),
    inspect: (inspection) =>
      inspectMongo({ db, users: collection, hashes, mapping, index, call }, inspection),
    secret: () => call(() => sharedSecret(db.collection<SecretDocument>("latchkey_keys"))),
    ping: async () => {
      await call(() => db.command({ ping: 1 }));
    },
    warnings: () => call(() => index.warnings()),
    close: () => connection.close(),
  };
}

function mappingOf({ fields, usernameMatch = "exact", preset }: MongoMappingOptions): UserMapping {
  return new UserMapping({
    fields,
    username: {
      match: usernameMatch,
      case: preset?.usernameCase,
      indexesStringsOnly: preset?.indexesStringsOnly,
    },
    rolesSeparator: preset?.rolesSeparator,
    ...(preset?.hash && { hash: preset.hash }),
  });
}

/** Reads documents of Extended JSON, as `mongoexport` writes them. */
export function createExportReader(options: MongoMappingOptions) {
  const mapping = mappingOf(options);
  return (document: object): User | undefined => {
    try {
      return mapping.user(BSON.EJSON.deserialize(document) as Document);
    } catch {
      // A wrapper such as {"$oid":…} that does not hold what it says.
      return undefined;
    }
  };
}

const namespaceNotFound = 26;
/** Not allowed to; an index of that name or key is there, but another one; duplicates. */
const indexRefused: unknown[] = [13, 85, 86, 11_000];

/** The index on the username: ours where the collection is ours, else only looked at. */
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

interface SecretDocument {
  readonly _id: "secret";
  readonly bytes: Binary;
}

async function sharedSecret(collection: Collection<SecretDocument>): Promise<Uint8Array> {
  const find = () => collection.findOne({ _id: "secret" });
  let stored = await find();
  while (stored === null) {
    await collection
      .insertOne({ _id: "secret", bytes: new Binary(randomBytes(32)) })
      .catch((error: unknown) => {
        // Another process was first.
        if (!(error instanceof MongoServerError) || error.code !== 11_000) throw error;
      });
    stored = await find();
  }
  return stored.bytes.value();
}

interface KeyDocument {
  readonly _id: "keys";
  readonly version: number;
  readonly document: string;
}

class MongoKeys implements KeyStore {
  readonly #collection: Collection<KeyDocument>;
  readonly #call: MongoCall;

  constructor(collection: Collection<KeyDocument>, call: MongoCall) {
    this.#collection = collection;
    this.#call = call;
  }

  async load(): Promise<{ version: number; document: string | undefined }> {
    const stored = await this.#call(() => this.#collection.findOne({ _id: "keys" }));
    return stored ?? { version: 0, document: undefined };
  }

  save(document: string, expectedVersion: number): Promise<boolean> {
    const version = expectedVersion + 1;
    return this.#call(async () => {
      if (expectedVersion > 0) {
        const { matchedCount } = await this.#collection.updateOne(
          { _id: "keys", version: expectedVersion },
          { $set: { version, document } },
        );
        return matchedCount === 1;
      }
      try {
        await this.#collection.insertOne({ _id: "keys", version, document });
        return true;
      } catch (error) {
        if (error instanceof MongoServerError && error.code === 11_000) return false;
        throw error;
      }
    });
  }
}
