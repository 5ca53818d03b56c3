/**
 * The users in MongoDB. Depends on mongodb and the domain's ports.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { ObjectId } from "mongodb";
import type { Collection, Document, Filter, FindOptions } from "mongodb";
import { AuthError } from "../../auth/errors.js";
import { userIdsOfSubject } from "../../auth/users.js";
import type {
  Account,
  ImportOptions,
  ImportOutcome,
  User,
  UserChange,
  UserId,
  UserStore,
} from "../../auth/users.js";
import { proven, type MongoAccess } from "./connection.js";
import { toDocumentId, toId } from "./document.js";
import type { UserDocument, UserMapping } from "./document.js";
import { MongoUserImport } from "./user-import.js";
import type { UsernameIndex } from "./username-index.js";
import { hasUpdate } from "./written.js";

const listPageUsers = 500;
/** The `_id` of a user whom there is not. */
const nobody = new ObjectId();

/** A user's document, and the one that holds his hash: often the same, empty where there is none. */
type Found = readonly [document: UserDocument, hashes: Document];

/** Accounts that are asked for together. */
interface Batch {
  readonly subjects: Set<string>;
  /** By subject; more than one where several types of `_id` give the same. */
  readonly found: Promise<ReadonlyMap<string, readonly UserDocument[]>>;
}

function groupBySubject(documents: readonly UserDocument[]): Awaited<Batch["found"]> {
  const groups = new Map<string, UserDocument[]>();
  for (const document of documents) {
    const subject = toId(document._id)?.value;
    if (subject !== undefined) groups.set(subject, [...(groups.get(subject) ?? []), document]);
  }
  return groups;
}

const idText = (id: unknown) => `${typeof id}:${String(id)}`;

function mergeUpdates(...updates: readonly (Document | undefined)[]): Document | undefined {
  const all = updates.filter((update) => update !== undefined);
  if (all.length === 0) return undefined;
  const merged = (key: "$set" | "$unset") => {
    const entries = all.flatMap((update) => Object.entries((update[key] ?? {}) as Document));
    return entries.length > 0 ? { [key]: Object.fromEntries<unknown>(entries) } : {};
  };
  return { ...merged("$set"), ...merged("$unset") };
}

/**
 * Without a unique index on the username, which only an adopted collection can lack, two racing `add`
 * may both add; neither of two users of one name is then found by it.
 */
export class MongoUsers implements UserStore {
  readonly #collection: Collection<UserDocument>;
  readonly #mapping: UserMapping;
  readonly #mongo: MongoAccess;
  readonly #imports: MongoUserImport;
  /** Where the hashes are, if in a collection of their own. */
  readonly #hashes: Collection<UserDocument> | undefined;
  readonly #collation: Pick<FindOptions, "collation">;
  #batch: Batch | undefined;

  constructor(
    collection: Collection<UserDocument>,
    hashes: Collection<UserDocument> | undefined,
    mapping: UserMapping,
    mongo: MongoAccess,
    index: UsernameIndex,
  ) {
    this.#collection = collection;
    this.#mapping = mapping;
    this.#mongo = mongo;
    this.#imports = new MongoUserImport(collection, mapping, mongo, index);
    this.#hashes = hashes;
    this.#collation = mapping.collation ? { collation: mapping.collation } : {};
  }

  async findByUsername(username: string): Promise<User | undefined> {
    const asked = this.#mapping.askedUsername(username);
    const filter = this.#named(this.#mapping.queriedUsername(username));
    const user = await this.#findOnly(filter, this.#collation);
    // BSON has no lone surrogates: one in the question would find U+FFFD.
    return user && this.#mapping.isSameUsername(user.username, asked) ? user : undefined;
  }

  async findBySubject(subject: string): Promise<Account | undefined> {
    const batch = (this.#batch ??= this.#newBatch());
    batch.subjects.add(subject);
    const [document, another] = (await batch.found).get(subject) ?? [];
    return document && !another ? this.#mapping.account(document) : undefined;
  }

  /** Reads that are due in one turn of the event loop are one question, asked when the turn is over. */
  #newBatch(): Batch {
    const subjects = new Set<string>();
    const find = () => {
      this.#batch = undefined;
      const ids = [...subjects].flatMap(userIdsOfSubject).map(toDocumentId);
      const projection = this.#mapping.accountProjection;
      return this.#collection.find({ _id: { $in: ids } }, { projection }).toArray();
    };
    const found = nextTurn()
      .then(() => this.#mongo.call(find))
      .then((documents) => groupBySubject(documents));
    return { subjects, found };
  }

  async add(user: User): Promise<"added" | "id_taken" | "username_taken"> {
    const options = { onConflict: "fail", replacedAt: new Date(0), dryRun: false } as const;
    const [outcome] = await this.import([user], options);
    if (typeof outcome === "object") throw new AuthError("internal", `the user ${outcome.refused}`);
    return outcome === "added" || outcome === "username_taken" ? outcome : "id_taken";
  }

  async import(users: readonly User[], options: ImportOptions): Promise<ImportOutcome[]> {
    if (this.#hashes) {
      throw new AuthError("internal", "users of this preset are added by their own framework");
    }
    return this.#imports.run(users, options);
  }

  async update(id: UserId, change: UserChange): Promise<boolean> {
    if (change.passwordHash !== undefined && this.#hashes) {
      const owned = this.#owned([toDocumentId(id)]);
      const update = this.#mapping.hashUpdate(change.passwordHash);
      if (!(await this.#updateOne(this.#hashes, owned, update))) return false;
    }
    const hash =
      change.passwordHash !== undefined && !this.#hashes ? change.passwordHash : undefined;
    const update = mergeUpdates(
      this.#mapping.update(change),
      hash === undefined ? undefined : this.#mapping.hashUpdate(hash),
    );
    if (update !== undefined)
      return this.#updateOne(this.#collection, this.#identified(id), update);
    return this.#mongo.call(
      async () => (await this.#collection.findOne(this.#identified(id))) !== null,
    );
  }

  /** Whether there was a document to update. */
  #updateOne(
    collection: Collection<UserDocument>,
    filter: Filter<UserDocument>,
    update: Document,
    holder: Filter<UserDocument> = filter,
  ): Promise<boolean> {
    return this.#mongo.write(
      async () => (await collection.updateOne(filter, update)).matchedCount === 1,
      async () => {
        const stored = await collection.findOne(holder, proven);
        return stored !== null && hasUpdate(stored, update);
      },
    );
  }

  async replacePasswordHash(id: UserId, oldHash: string, newHash: string): Promise<boolean> {
    const [found] = await this.#mongo.call(() => this.#find(this.#identified(id), { limit: 1 }));
    if (found === undefined) return false;
    const [, holder] = found;
    if (this.#mapping.passwordHash(holder) !== oldHash) return false;
    const { _id } = holder as UserDocument;
    const filter = { _id, ...this.#mapping.hashFields(holder) };
    const update = this.#mapping.hashUpdate(newHash);
    return this.#updateOne(this.#hashes ?? this.#collection, filter, update, { _id });
  }

  remove(id: UserId): Promise<boolean> {
    return this.#mongo.write(
      async () => (await this.#collection.deleteOne(this.#identified(id))).deletedCount === 1,
      async () => (await this.#collection.findOne(this.#identified(id), proven)) === null,
    );
  }

  async *list(): AsyncIterable<User> {
    const { projection } = this.#mapping;
    const options = { projection, batchSize: listPageUsers };
    for await (const page of this.#mongo.pages(() => this.#collection.find({}, options))) {
      for (const found of await this.#mongo.call(() => this.#withHashes(page))) {
        const user = this.#mapping.user(...found);
        if (user !== undefined) yield user;
      }
    }
  }

  async existing(ids: readonly UserId[]): Promise<readonly UserId[]> {
    if (ids.length === 0) return [];
    const filter = { _id: { $in: ids.map(toDocumentId) } };
    const found = await this.#mongo.call(() =>
      this.#collection.find(filter, { projection: { _id: 1 } }).toArray(),
    );
    return found.flatMap(({ _id }) => toId(_id) ?? []);
  }

  async sampleHashes(size: number): Promise<readonly string[]> {
    const { projection, hashProjection, hash } = this.#mapping;
    const stages = this.#hashes
      ? [
          { $match: hash.collection?.filter ?? {} },
          { $sample: { size } },
          { $project: hashProjection },
        ]
      : [{ $sample: { size } }, { $project: projection }];
    const collection = this.#hashes ?? this.#collection;
    const documents = await this.#mongo.call(() => collection.aggregate(stages).toArray());
    return documents.flatMap((document) => this.#mapping.passwordHash(document) ?? []);
  }

  #named(username: string | Document): Filter<UserDocument> {
    const condition = typeof username === "string" ? { $eq: username } : username;
    return { [this.#mapping.fields.username]: { ...condition, ...this.#mapping.nameCondition } };
  }

  #identified(id: UserId): Filter<UserDocument> {
    return { _id: toDocumentId(id), ...this.#named({ $type: "string" }) };
  }

  /** The documents that hold the hashes of those users. */
  #owned(ids: readonly unknown[]): Filter<UserDocument> {
    const { userId = "", filter = {} } = this.#mapping.hash.collection ?? {};
    return { ...filter, [userId]: { $in: ids } };
  }

  /** The one document that matches; of two, neither. */
  async #findOnly(filter: Filter<UserDocument>, options?: FindOptions): Promise<User | undefined> {
    const [found, another] = await this.#mongo.call(() =>
      this.#find(filter, { ...options, limit: 2 }),
    );
    return found && !another ? this.#mapping.user(...found) : undefined;
  }

  async #find(filter: Filter<UserDocument>, options: FindOptions): Promise<Found[]> {
    const { projection } = this.#mapping;
    const documents = await this.#collection.find(filter, { projection, ...options }).toArray();
    return this.#withHashes(documents);
  }

  /** Each document with the one that holds its hash; of two such, neither. */
  async #withHashes(documents: readonly UserDocument[]): Promise<Found[]> {
    if (!this.#hashes) return documents.map((document) => [document, document]);
    const { hash, hashProjection: projection } = this.#mapping;
    // An unknown user costs a question too, or would be told from the others by time.
    const ids = documents.length > 0 ? documents.map(({ _id }) => _id) : [nobody];
    const holders = await this.#hashes.find(this.#owned(ids), { projection }).toArray();
    const byUser = new Map<string, Document>();
    for (const holder of holders) {
      const user = idText(holder[hash.collection?.userId ?? ""]);
      byUser.set(user, byUser.has(user) ? {} : holder);
    }
    return documents.map((document) => [document, byUser.get(idText(document._id)) ?? {}]);
  }
}
