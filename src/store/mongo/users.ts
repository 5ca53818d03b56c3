/**
 * The users in MongoDB. Depends on mongodb and the domain's ports.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { ObjectId } from "mongodb";
import type { Collection, Document, Filter, FindOptions } from "mongodb";
import { afterWrites, AuthError } from "../../auth/errors.js";
import { userIdsOfSubject } from "../../auth/users.js";
import type {
  Account,
  ImportOptions,
  ImportOutcome,
  User,
  UserChange,
  UserId,
  UserRecord,
  UserStore,
  UserToImport,
} from "../../auth/users.js";
import { proven, type MongoAccess } from "./connection.js";
import type { UserDocument, UserMapping } from "./document.js";
import { MongoUserImport } from "./user-import.js";
import type { UsernameIndex } from "./username-index.js";
import { hasUpdate } from "./written.js";

const listPageUsers = 500;
/** More than two, because documents that are not users may have the name in a list. */
const namesakesMax = 50;
/**
 * Without a change there is something to confirm nevertheless: that the primary is still the one, as only a write
 * does.
 */
const changesNothing: Document = { $unset: { latchkey_unchanged: 1 } };
/** An `_id` that no user has. */
const nobody = new ObjectId();

/** A user's document, and the document with the hash: often the same one, empty if there is no hash. */
type Found = readonly [document: UserDocument, hashes: Document];

/** Reads by subject that become one query. */
interface Batch {
  readonly subjects: Set<string>;
  /** Documents by subject; several if `_id`s of different types have the same subject. */
  readonly found: Promise<ReadonlyMap<string, readonly UserDocument[]>>;
}

function groupBySubject(
  documents: readonly UserDocument[],
  ids: UserMapping["ids"],
): Awaited<Batch["found"]> {
  const groups = new Map<string, UserDocument[]>();
  for (const document of documents) {
    const subject = ids.read(document._id)?.value;
    if (subject !== undefined) groups.set(subject, [...(groups.get(subject) ?? []), document]);
  }
  return groups;
}

/** How many leading letters are looked up by index in both cases; a regular expression checks the rest. */
const eitherCaseLetters = 4;

/** Finds a name in any case by an index on the name, with the query that Meteor uses. */
function otherCaseFilter(
  { fields, indexPath }: UserMapping,
  username: string,
): Filter<UserDocument> {
  const escaped = (text: string) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  const starts = Array.from(username)
    .slice(0, eitherCaseLetters)
    .reduce<readonly string[]>(
      (texts, letter) =>
        [...new Set([letter.toLowerCase(), letter.toUpperCase()])].flatMap((each) =>
          texts.map((text) => text + each),
        ),
      [""],
    );
  return {
    $and: [
      { $or: starts.map((start) => ({ [indexPath]: { $regex: `^${escaped(start)}` } })) },
      { [fields.username]: { $regex: `^${escaped(username)}$`, $options: "i" } },
    ],
  };
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
 * The users' collection, implementing `UserStore`. An adopted collection may lack a unique index on the
 * username: two concurrent `add` of one name may then both succeed, and neither user is found by that name.
 */
export class MongoUsers implements UserStore {
  readonly #collection: Collection<UserDocument>;
  readonly #mapping: UserMapping;
  readonly #mongo: MongoAccess;
  readonly #index: UsernameIndex;
  readonly #imports: MongoUserImport;
  /** The collection of the hashes, if they are in one of their own. */
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
    this.#index = index;
    this.#imports = new MongoUserImport(collection, mapping, mongo, index);
    this.#hashes = hashes;
    this.#collation = mapping.collation ? { collation: mapping.collation } : {};
  }

  async findByUsername(username: string): Promise<User | undefined> {
    const asked = this.#mapping.askedUsername(username);
    const forms = this.#mapping.queriedForms(username);
    const filter = this.#mapping.lookupFilter(
      forms.length === 1 ? { $eq: forms[0] } : { $in: forms },
    );
    // BSON has no lone surrogates: the driver turns one into U+FFFD and would find that name.
    const isAsked = (name: string) => this.#mapping.isSameUsername(name, asked);
    const [user, inOtherCase] = await Promise.all([
      this.#findOnly(filter, isAsked, this.#collation),
      this.#mapping.findsOtherCase ? this.#findInOtherCase(asked) : undefined,
    ]);
    return user ?? inOtherCase;
  }

  /** Always runs beside the exact query, so that the response time does not tell which of them found the user. */
  async #findInOtherCase(username: string): Promise<User | undefined> {
    // MongoDB takes no NUL in a regular expression.
    if (username.includes("\0")) return undefined;
    const asked = username.toLowerCase();
    return this.#findOnly(
      { $and: [otherCaseFilter(this.#mapping, username), this.#named({ $type: "string" })] },
      (name) => name.toLowerCase() === asked,
    );
  }

  async findBySubject(subject: string): Promise<Account | undefined> {
    const batch = (this.#batch ??= this.#newBatch());
    batch.subjects.add(subject);
    const [document, another] = (await batch.found).get(subject) ?? [];
    return document && !another ? this.#mapping.account(document) : undefined;
  }

  /** All reads of one turn of the event loop become one query, sent when the turn is over. */
  #newBatch(): Batch {
    const subjects = new Set<string>();
    const found = nextTurn()
      .then(() => {
        // Cleared before the call, which may fail at once: no later read may join a failed batch.
        this.#batch = undefined;
        const ids = [...subjects]
          .flatMap(userIdsOfSubject)
          .map((id) => this.#mapping.ids.write(id));
        const projection = this.#mapping.accountProjection;
        return this.#mongo.call(() =>
          this.#collection.find({ _id: { $in: ids } }, { projection }).toArray(),
        );
      })
      .then((documents) => groupBySubject(documents, this.#mapping.ids));
    return { subjects, found };
  }

  async add(user: User): Promise<"added" | "id_taken" | "username_taken"> {
    const options = { onConflict: "fail", replacedAt: new Date(0), dryRun: false } as const;
    const [outcome] = await this.import([user], options);
    if (typeof outcome === "object")
      throw new AuthError("internal", `the document ${outcome.refused}`, { wroteNothing: true });
    return outcome === "added" || outcome === "username_taken" ? outcome : "id_taken";
  }

  async import(users: readonly UserToImport[], options: ImportOptions): Promise<ImportOutcome[]> {
    if (this.#hashes) {
      throw new AuthError("internal", "users of this preset are added by their own framework");
    }
    return this.#imports.run(users, options);
  }

  async update(id: UserId, change: UserChange): Promise<boolean> {
    if (change.passwordHash !== undefined && this.#hashes) {
      const owned = this.#owned([this.#mapping.ids.write(id)]);
      const update = this.#mapping.hashUpdate(change.passwordHash);
      if (!(await this.#updateOne(this.#hashes, owned, update))) return false;
      return this.#updateUser(id, change).catch(afterWrites);
    }
    return this.#updateUser(id, change);
  }

  /** Leaves the hash alone where it is in a collection of its own. */
  async #updateUser(id: UserId, change: UserChange): Promise<boolean> {
    const hash =
      change.passwordHash !== undefined && !this.#hashes ? change.passwordHash : undefined;
    const flags = await this.#flagsOf(id, change);
    if (flags === null) return false;
    const update = mergeUpdates(
      this.#mapping.update(change, flags),
      hash === undefined ? undefined : this.#mapping.hashUpdate(hash),
    );
    return this.#updateOne(this.#collection, this.#identified(id), update ?? changesNothing);
  }

  /** Resolves with whether there was a document to update. */
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

  /** The fields that tell whether the user is disabled, if the change needs them; null if there is no such user. */
  #flagsOf(id: UserId, change: UserChange): Promise<Document | null> {
    if (!this.#mapping.needsDocument(change)) return Promise.resolve({});
    const { flagProjection: projection } = this.#mapping;
    // What only the primary has may be an earlier attempt of this change, and an election may take it back.
    return this.#mongo.call(() =>
      this.#collection.findOne(this.#identified(id), { projection, ...proven }),
    );
  }

  async replacePasswordHash(
    id: UserId,
    oldHash: string | undefined,
    newHash: string,
  ): Promise<boolean> {
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
    for await (const found of this.#documents({})) {
      const user = this.#mapping.user(...found);
      if (user !== undefined) yield user;
    }
  }

  async *records(): AsyncIterable<UserRecord> {
    if (await this.#mongo.call(() => this.#index.isUnique()).catch(() => false)) {
      for await (const found of this.#documents({})) yield this.#mapping.record(...found);
      return;
    }
    // Sorted, so that users with the same name follow each other.
    const sort = { [this.#mapping.fields.username]: 1 } as const;
    let held: Found | undefined;
    let isRepeated = false;
    for await (const found of this.#documents({ sort, allowDiskUse: true, ...this.#collation })) {
      const isSame = held !== undefined && this.#areOfOneName(held[0], found[0]);
      if (held) yield this.#recordOf(held, isRepeated || isSame);
      held = found;
      isRepeated = isSame;
    }
    if (held) yield this.#recordOf(held, isRepeated);
  }

  #areOfOneName(a: Document, b: Document): boolean {
    const [one, other] = [this.#mapping.usernameOf(a), this.#mapping.usernameOf(b)];
    if (one === undefined || other === undefined) return false;
    return this.#mapping.isSameUsername(one, other);
  }

  #recordOf(found: Found, isRepeated: boolean): UserRecord {
    const record = this.#mapping.record(...found);
    if (!isRepeated || record.fault) return record;
    const reason = `a ${this.#mapping.fields.username} that another user has too`;
    return { ...record, fault: { kind: "duplicate", reason } };
  }

  /** Every document, page by page. */
  async *#documents(options: FindOptions): AsyncGenerator<Found> {
    const { projection } = this.#mapping;
    const all = { projection, batchSize: listPageUsers, ...options };
    for await (const page of this.#mongo.pages(() => this.#collection.find({}, all))) {
      yield* await this.#mongo.call(() => this.#withHashes(page));
    }
  }

  async existing(ids: readonly UserId[]): Promise<readonly UserId[]> {
    if (ids.length === 0) return [];
    const filter = { _id: { $in: ids.map((id) => this.#mapping.ids.write(id)) } };
    const found = await this.#mongo.call(() =>
      this.#collection.find(filter, { projection: { _id: 1 } }).toArray(),
    );
    return found.flatMap(({ _id }) => this.#mapping.ids.read(_id) ?? []);
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

  #named(condition: Document): Filter<UserDocument> {
    return this.#mapping.nameFilter(condition);
  }

  #identified(id: UserId): Filter<UserDocument> {
    return { _id: this.#mapping.ids.write(id), ...this.#named({ $type: "string" }) };
  }

  /** Filters for the documents that hold the hashes of these users. */
  #owned(ids: readonly unknown[]): Filter<UserDocument> {
    const { userId = "", filter = {} } = this.#mapping.hash.collection ?? {};
    return { ...filter, [userId]: { $in: ids } };
  }

  /** The user whose name is asked for, or undefined if none or several have it. */
  async #findOnly(
    filter: Filter<UserDocument>,
    isAsked: (username: string) => boolean,
    options?: FindOptions,
  ): Promise<User | undefined> {
    const limit = namesakesMax;
    const matching = await this.#mongo.call(() => this.#find(filter, { ...options, limit }));
    const [found, another] = matching.filter(([each]) => {
      const name = this.#mapping.usernameOf(each);
      return name !== undefined && isAsked(name);
    });
    return found && !another ? this.#mapping.user(...found) : undefined;
  }

  async #find(filter: Filter<UserDocument>, options: FindOptions): Promise<Found[]> {
    const { projection } = this.#mapping;
    const documents = await this.#collection.find(filter, { projection, ...options }).toArray();
    return this.#withHashes(documents);
  }

  /** Pairs each document with the one that holds its hash; with an empty one if none or several do. */
  async #withHashes(documents: readonly UserDocument[]): Promise<Found[]> {
    if (!this.#hashes) return documents.map((document) => [document, document]);
    const { hash, hashProjection: projection } = this.#mapping;
    // An unknown user costs a query too, else the response time would tell that he is unknown.
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
