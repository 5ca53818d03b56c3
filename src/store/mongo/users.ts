/**
 * The users in MongoDB. Depends on mongodb and the domain's ports.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { MongoBulkWriteError, ObjectId } from "mongodb";
import type { Collection, Document, Filter, FindOptions } from "mongodb";
import { AuthError } from "../../auth/errors.js";
import { userIdsOfSubject } from "../../auth/users.js";
import type {
  Account,
  ImportConflict,
  ImportOutcome,
  User,
  UserChange,
  UserId,
  UserStore,
} from "../../auth/users.js";
import { planImport, planLoneUsers } from "../import-plan.js";
import type { Occupant, PlannedWrite } from "../import-plan.js";
import type { UsernameIndex } from "./username-index.js";
import type { MongoCall } from "./connection.js";
import { toDocumentId, toId, toUpdate } from "./document.js";
import type { UserDocument, UserMapping } from "./document.js";

const duplicateKey = 11_000;
/** How often an import plans anew for those users whom others wrote in the meantime. */
const importAttempts = 5;
const listPageUsers = 500;
/** MongoDB advises against more values than so in one `$in`. */
const questionUsers = 100;
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

interface ImportOptions {
  readonly onConflict: ImportConflict;
  readonly replacedAt: Date;
  readonly dryRun: boolean;
}

/**
 * Without a unique index on the username, which only an adopted collection can lack, two racing `add`
 * may both add; neither of two users of one name is then found by it.
 */
export class MongoUsers implements UserStore {
  readonly #collection: Collection<UserDocument>;
  readonly #mapping: UserMapping;
  readonly #call: MongoCall;
  readonly #index: UsernameIndex;
  /** Where the hashes are, if in a collection of their own. */
  readonly #hashes: Collection<UserDocument> | undefined;
  readonly #collation: Pick<FindOptions, "collation">;
  #batch: Batch | undefined;

  constructor(
    collection: Collection<UserDocument>,
    hashes: Collection<UserDocument> | undefined,
    mapping: UserMapping,
    call: MongoCall,
    index: UsernameIndex,
  ) {
    this.#collection = collection;
    this.#mapping = mapping;
    this.#call = call;
    this.#index = index;
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
      .then(() => this.#call(find))
      .then((documents) => groupBySubject(documents));
    return { subjects, found };
  }

  async add(user: User): Promise<"added" | "id_taken" | "username_taken"> {
    const options = { onConflict: "fail", replacedAt: new Date(0), dryRun: false } as const;
    const [outcome] = await this.#call(() => this.import([user], options));
    return outcome === "added" || outcome === "username_taken" ? outcome : "id_taken";
  }

  async import(users: readonly User[], options: ImportOptions): Promise<ImportOutcome[]> {
    if (this.#hashes) {
      throw new AuthError("internal", "users of this preset are added by their own framework");
    }
    await this.#call(() => this.#index.prepare());
    const outcomes: ImportOutcome[] = [];
    let positions = options.dryRun ? [...users.keys()] : await this.#addAtOnce(users, outcomes);
    for (let attempt = 1; positions.length > 0; attempt++) {
      const batch = positions.flatMap((position) => users[position] ?? []);
      const plan = planImport(
        batch,
        await this.#occupants(batch),
        options,
        this.#mapping.usernameKey,
      );
      positions.forEach((position, i) => (outcomes[position] = plan.outcomes[i] ?? "exists"));
      if (options.dryRun) break;
      const refused = await this.#write(plan.writes);
      positions = refused
        .flatMap((write) => write.positions.flatMap((i) => positions[i] ?? []))
        .sort((a, b) => a - b);
      if (attempt < importAttempts) continue;
      await this.#explain(users, positions, outcomes);
      break;
    }
    return outcomes;
  }

  async update(id: UserId, change: UserChange): Promise<boolean> {
    if (change.passwordHash !== undefined && this.#hashes) {
      if (!(await this.#setHash(this.#hashes, id, change.passwordHash))) return false;
    }
    const hash =
      change.passwordHash !== undefined && !this.#hashes ? change.passwordHash : undefined;
    const update = mergeUpdates(
      this.#mapping.update(change),
      hash === undefined ? undefined : this.#mapping.hashUpdate(hash),
    );
    return this.#call(async () => {
      if (update === undefined) {
        return (await this.#collection.findOne(this.#identified(id))) !== null;
      }
      const result = await this.#collection.updateOne(this.#identified(id), update);
      return result.matchedCount === 1;
    });
  }

  async replacePasswordHash(id: UserId, oldHash: string, newHash: string): Promise<boolean> {
    const [found] = await this.#call(() => this.#find(this.#identified(id), { limit: 1 }));
    if (found === undefined) return false;
    const [, holder] = found;
    if (this.#mapping.passwordHash(holder) !== oldHash) return false;
    const filter = { _id: (holder as UserDocument)._id, ...this.#mapping.hashFields(holder) };
    return this.#call(async () => {
      const result = await (this.#hashes ?? this.#collection).updateOne(
        filter,
        this.#mapping.hashUpdate(newHash),
      );
      return result.matchedCount === 1;
    });
  }

  #setHash(hashes: Collection<UserDocument>, id: UserId, hash: string): Promise<boolean> {
    return this.#call(async () => {
      const update = this.#mapping.hashUpdate(hash);
      return (await hashes.updateOne(this.#owned([toDocumentId(id)]), update)).matchedCount === 1;
    });
  }

  remove(id: UserId): Promise<boolean> {
    return this.#call(async () => {
      const result = await this.#collection.deleteOne(this.#identified(id));
      return result.deletedCount === 1;
    });
  }

  async *list(): AsyncIterable<User> {
    const { projection } = this.#mapping;
    // A connection that is made closes the cursors that were there before.
    const cursor = await this.#call(() =>
      Promise.resolve(this.#collection.find({}, { projection, batchSize: listPageUsers })),
    );
    try {
      for (;;) {
        const first = await this.#call(() => cursor.next());
        if (first === null) return;
        const page = [first, ...cursor.readBufferedDocuments()];
        for (const found of await this.#call(() => this.#withHashes(page))) {
          const user = this.#mapping.user(...found);
          if (user !== undefined) yield user;
        }
      }
    } finally {
      await this.#call(() => cursor.close()).catch(() => undefined);
    }
  }

  async existing(ids: readonly UserId[]): Promise<readonly UserId[]> {
    if (ids.length === 0) return [];
    const filter = { _id: { $in: ids.map(toDocumentId) } };
    const found = await this.#call(() =>
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
    const documents = await this.#call(() => collection.aggregate(stages).toArray());
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
    const [found, another] = await this.#call(() => this.#find(filter, { ...options, limit: 2 }));
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

  /** Whoever has an `_id` or username of the batch. */
  async #occupants(batch: readonly User[]): Promise<Occupant[]> {
    // A collation would compare ids by its own rules too, hence two questions.
    const questions = Array.from({ length: Math.ceil(batch.length / questionUsers) }, (_, i) => {
      const asked = batch.slice(i * questionUsers, (i + 1) * questionUsers);
      const ids = asked.map(({ id }) => toDocumentId(id));
      const names = asked.map(({ username }) => this.#mapping.queriedUsername(username));
      return [
        () => this.#find({ _id: { $in: ids } }, {}),
        () => this.#find(this.#named({ $in: names }), this.#collation),
      ];
    });
    const found = await Promise.all(questions.flat().map((question) => this.#call(question)));
    const unique = new Map(found.flat().map((each) => [idText(each[0]._id), each]));
    return Array.from(unique.values(), (each) => this.#mapping.occupant(...each));
  }

  /**
   * Adds whom the unique indexes let in, without a question before: most imports meet nobody. Whoever
   * is left over comes back as a position, to be looked at: also those who share an `_id` or username
   * with another one of this import, because then their order counts.
   */
  async #addAtOnce(users: readonly User[], outcomes: ImportOutcome[]): Promise<number[]> {
    const positions = [...users.keys()];
    // An account may be allowed to write and not to list indexes.
    const isUnique = await this.#call(() => this.#index.isUnique()).catch(() => false);
    if (!isUnique) return positions;
    // Two Unicode forms of a name may be two to the index.
    const lone = planLoneUsers(users, this.#mapping.usernameKey).filter(
      ({ user: { username } }) =>
        this.#mapping.queriedUsername(username) === this.#mapping.askedUsername(username),
    );
    const refused = new Set(await this.#insert(lone));
    for (const write of lone) {
      if (refused.has(write)) continue;
      for (const position of write.positions) outcomes[position] = "added";
    }
    return positions.filter((position) => outcomes[position] === undefined);
  }

  /** Writes what still is as it was when planned; the rest comes back. */
  async #write(writes: readonly PlannedWrite[]): Promise<PlannedWrite[]> {
    const inserts = writes.filter(({ previous }) => previous === undefined);
    const replacements = writes.filter(({ previous }) => previous !== undefined);
    return [...(await this.#insert(inserts)), ...(await this.#replace(replacements))];
  }

  async #insert(writes: readonly PlannedWrite[]): Promise<PlannedWrite[]> {
    if (writes.length === 0) return [];
    const documents = writes.map(({ user }) => this.#mapping.document(user));
    return this.#call(async () => {
      try {
        await this.#collection.insertMany(documents, { ordered: false });
        return [];
      } catch (error) {
        if (!(error instanceof MongoBulkWriteError) || error.result.getWriteConcernError()) {
          throw error;
        }
        const faults = [error.writeErrors].flat();
        if (faults.some(({ code }) => code !== duplicateKey)) throw error;
        return faults.flatMap(({ index }) => writes[index] ?? []);
      }
    });
  }

  async #replace(writes: readonly PlannedWrite[]): Promise<PlannedWrite[]> {
    if (writes.length === 0) return [];
    const operations = writes.map((write) => ({ updateOne: this.#replacement(write) }));
    const { matchedCount } = await this.#call(() =>
      this.#collection.bulkWrite(operations, { ordered: false }),
    );
    // Which ones did not match is not told; a replacement done twice is the same replacement.
    return matchedCount === writes.length ? [] : [...writes];
  }

  #replacement({ user, previous }: PlannedWrite) {
    const { password, tokensValidAfter } = this.#mapping.fields;
    const { [password]: hash, [tokensValidAfter]: instant, ...values } = this.#mapping.values(user);
    if (user.passwordHash !== previous?.passwordHash) values[password] = hash;
    if (user.tokensValidAfter !== previous?.tokensValidAfter) values[tokensValidAfter] = instant;
    return {
      filter: {
        _id: toDocumentId(user.id),
        ...this.#named(previous?.username ?? user.username),
        ...previous?.hashFields,
      },
      update: toUpdate(values) ?? {},
    };
  }

  /** Why those users cannot be written of whom every plan says that nothing is in the way. */
  async #explain(users: readonly User[], positions: readonly number[], outcomes: ImportOutcome[]) {
    const has = (filter: Filter<UserDocument>, options?: FindOptions) =>
      this.#call(async () => (await this.#collection.findOne(filter, options)) !== null);
    for (const position of positions) {
      const user = users[position];
      if (user === undefined) continue;
      if (await has({ _id: toDocumentId(user.id) })) outcomes[position] = "id_taken";
      else if (
        await has(this.#named(this.#mapping.queriedUsername(user.username)), this.#collation)
      )
        outcomes[position] = "username_taken";
      else throw new AuthError("internal", "a unique index of another field is in the way");
    }
  }
}
