/**
 * The users in MongoDB. Depends on mongodb and the domain's ports.
 */
import { MongoBulkWriteError } from "mongodb";
import type { Collection, Document, Filter } from "mongodb";
import { AuthError } from "../auth/errors.js";
import { userIdsOfSubject } from "../auth/users.js";
import type {
  ImportConflict,
  ImportOutcome,
  User,
  UserChange,
  UserId,
  UserStore,
} from "../auth/users.js";
import { planImport } from "./import-plan.js";
import type { Occupant, PlannedWrite } from "./import-plan.js";
import type { MongoCall, UsernameIndex } from "./mongo.js";
import { toDocumentId } from "./mongo-document.js";
import type { UserDocument, UserMapping } from "./mongo-document.js";

const duplicateKey = 11_000;
/** How often an import plans anew for those users whom others wrote in the meantime. */
const importAttempts = 5;

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

  constructor(
    collection: Collection<UserDocument>,
    mapping: UserMapping,
    call: MongoCall,
    index: UsernameIndex,
  ) {
    this.#collection = collection;
    this.#mapping = mapping;
    this.#call = call;
    this.#index = index;
  }

  async findByUsername(username: string): Promise<User | undefined> {
    const user = await this.#findOnly(this.#named(username));
    // BSON has no lone surrogates: one in the question would find U+FFFD.
    return user?.username === username ? user : undefined;
  }

  findBySubject(subject: string): Promise<User | undefined> {
    const ids = userIdsOfSubject(subject).map(toDocumentId);
    return this.#findOnly({ _id: { $in: ids } });
  }

  async add(user: User): Promise<"added" | "id_taken" | "username_taken"> {
    const options = { onConflict: "fail", replacedAt: new Date(0), dryRun: false } as const;
    const [outcome] = await this.#call(() => this.import([user], options));
    return outcome === "added" || outcome === "username_taken" ? outcome : "id_taken";
  }

  async import(users: readonly User[], options: ImportOptions): Promise<ImportOutcome[]> {
    await this.#call(() => this.#index.prepare());
    const outcomes: ImportOutcome[] = [];
    let positions = [...users.keys()];
    for (let attempt = 1; positions.length > 0; attempt++) {
      const batch = positions.flatMap((position) => users[position] ?? []);
      const plan = planImport(batch, await this.#occupants(batch), options);
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

  update(id: UserId, change: UserChange): Promise<boolean> {
    const values = this.#mapping.changed(change);
    return this.#call(async () => {
      if (Object.keys(values).length === 0) {
        return (await this.#collection.findOne(this.#identified(id))) !== null;
      }
      const result = await this.#collection.updateOne(this.#identified(id), { $set: values });
      return result.matchedCount === 1;
    });
  }

  replacePasswordHash(id: UserId, oldHash: string, newHash: string): Promise<boolean> {
    const { password } = this.#mapping.fields;
    return this.#call(async () => {
      const result = await this.#collection.updateOne(
        { ...this.#identified(id), [password]: oldHash },
        { $set: { [password]: newHash } },
      );
      return result.matchedCount === 1;
    });
  }

  remove(id: UserId): Promise<boolean> {
    return this.#call(async () => {
      const result = await this.#collection.deleteOne(this.#identified(id));
      return result.deletedCount === 1;
    });
  }

  async *list(): AsyncIterable<User> {
    const cursor = this.#collection.find({}, { projection: this.#mapping.projection });
    try {
      for (;;) {
        const document = await this.#call(() => cursor.next());
        if (document === null) return;
        const user = this.#mapping.user(document);
        if (user !== undefined) yield user;
      }
    } finally {
      await this.#call(() => cursor.close()).catch(() => undefined);
    }
  }

  #named(username: string | Document): Filter<UserDocument> {
    return { [this.#mapping.fields.username]: username };
  }

  #identified(id: UserId): Filter<UserDocument> {
    return { _id: toDocumentId(id), ...this.#named({ $type: "string" }) };
  }

  /** The one document that matches; of two, neither. */
  async #findOnly(filter: Filter<UserDocument>): Promise<User | undefined> {
    const { projection } = this.#mapping;
    const [document, another] = await this.#call(() =>
      this.#collection.find(filter, { projection, limit: 2 }).toArray(),
    );
    return document && !another ? this.#mapping.user(document) : undefined;
  }

  /** Whoever has an `_id` or username of the batch. */
  async #occupants(batch: readonly User[]): Promise<Occupant[]> {
    const { projection } = this.#mapping;
    const filter: Filter<UserDocument> = {
      $or: [
        { _id: { $in: batch.map((user) => toDocumentId(user.id)) } },
        this.#named({ $in: batch.map((user) => user.username) }),
      ],
    };
    const documents = await this.#call(() =>
      this.#collection.find(filter, { projection }).toArray(),
    );
    return documents.map((document) => this.#mapping.occupant(document));
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
    const { [tokensValidAfter]: instant, ...values } = this.#mapping.values(user);
    if (user.tokensValidAfter !== previous?.tokensValidAfter) values[tokensValidAfter] = instant;
    const entries = Object.entries(values);
    const set = entries.filter(([, value]) => value !== undefined);
    const unset = entries
      .filter(([, value]) => value === undefined)
      .map(([path]) => [path, 1] as const);
    return {
      filter: {
        _id: toDocumentId(user.id),
        ...this.#named(user.username),
        [password]: previous?.passwordHash ?? { $not: { $type: "string" as const } },
      },
      update: {
        $set: Object.fromEntries<unknown>(set),
        ...(unset.length > 0 && { $unset: Object.fromEntries<unknown>(unset) }),
      },
    };
  }

  /** Why those users cannot be written of whom every plan says that nothing is in the way. */
  async #explain(users: readonly User[], positions: readonly number[], outcomes: ImportOutcome[]) {
    const has = (filter: Filter<UserDocument>) =>
      this.#call(async () => (await this.#collection.findOne(filter)) !== null);
    for (const position of positions) {
      const user = users[position];
      if (user === undefined) continue;
      if (await has({ _id: toDocumentId(user.id) })) outcomes[position] = "id_taken";
      else if (await has(this.#named(user.username))) outcomes[position] = "username_taken";
      else throw new AuthError("internal", "a unique index of another field is in the way");
    }
  }
}
