/** The state of a take-over in MongoDB: learnt users, counters, lead. Depends on mongodb and the port. */
import type { Collection } from "mongodb";
import {
  examplesMax,
  type DayCounts,
  type StoredBreaker,
  type LearnedUser,
  type StoredDifference,
  type StoredLead,
  type TakeoverStore,
  type TallyAddition,
} from "../../takeover/store.js";
import { proven, type MongoAccess } from "./connection.js";
import { isDuplicateKey } from "./failures.js";

/** A learnt user by `sub`. */
export interface LearnedDocument extends Omit<LearnedUser, "subject" | "hash" | "atMs"> {
  readonly _id: string;
  readonly hash?: string;
  readonly at: Date;
}

/** The lead, the breaker, the counters of a day, or those of a kind of difference. */
export interface TakeoverDocument {
  readonly _id: "lead" | "breaker" | { readonly day: string } | { readonly difference: string };
  readonly percent?: number;
  readonly variable?: number;
  readonly counts?: Readonly<Record<string, number>>;
  readonly state?: string;
  readonly cause?: string;
  readonly count?: number;
  readonly firstAt?: Date;
  readonly lastAt?: Date;
  readonly examples?: readonly string[];
}

const upsert = { upsert: true } as const;

export class MongoTakeover implements TakeoverStore {
  readonly #learned: Collection<LearnedDocument>;
  readonly #others: Collection<TakeoverDocument>;
  readonly #mongo: MongoAccess;
  #hasIndex = false;

  constructor(
    learned: Collection<LearnedDocument>,
    others: Collection<TakeoverDocument>,
    mongo: MongoAccess,
  ) {
    this.#learned = learned;
    this.#others = others;
    this.#mongo = mongo;
  }

  async lead(): Promise<StoredLead | undefined> {
    const stored = await this.#mongo.call(() => this.#others.findOne({ _id: "lead" }));
    const { percent, variable } = stored ?? {};
    return percent === undefined || variable === undefined ? undefined : { percent, variable };
  }

  async setLead(lead: StoredLead): Promise<void> {
    // Writing twice has the same effect as once.
    await this.#mongo.write(
      async () => {
        await this.#others.updateOne({ _id: "lead" }, { $set: lead }, upsert);
        return true;
      },
      async () => {
        const stored = await this.#others.findOne({ _id: "lead" }, proven);
        return stored?.percent === lead.percent && stored.variable === lead.variable;
      },
    );
  }

  async breaker(): Promise<StoredBreaker | undefined> {
    const stored = await this.#mongo.call(() => this.#others.findOne({ _id: "breaker" }));
    const { state, lastAt, cause } = stored ?? {};
    return state === undefined || !lastAt ? undefined : { state, atMs: lastAt.getTime(), cause };
  }

  async setBreaker({ state, atMs, cause }: StoredBreaker): Promise<void> {
    const update = {
      $set: { state, lastAt: new Date(atMs), ...(cause !== undefined && { cause }) },
      ...(cause === undefined && { $unset: { cause: "" as const } }),
    };
    await this.#mongo.call(() => this.#others.updateOne({ _id: "breaker" }, update, upsert));
  }

  async findByName(name: string): Promise<LearnedUser | undefined> {
    const [found] = await this.#mongo.call(() =>
      this.#learned.find({ names: name }).sort({ at: -1 }).limit(1).toArray(),
    );
    return found && toUser(found);
  }

  async findBySubject(subject: string): Promise<LearnedUser | undefined> {
    const found = await this.#mongo.call(() => this.#learned.findOne({ _id: subject }));
    return found ? toUser(found) : undefined;
  }

  async findAll(subjects: readonly string[]): Promise<readonly LearnedUser[]> {
    const found = await this.#mongo.call(() =>
      this.#learned.find({ _id: { $in: [...subjects] } }).toArray(),
    );
    return found.map(toUser);
  }

  async learn(user: LearnedUser): Promise<boolean> {
    const { subject: _id, hash, atMs, ...rest } = user;
    const at = new Date(atMs);
    const update = {
      $set: { ...rest, at, ...(hash !== undefined && { hash }) },
      ...(hash === undefined && { $unset: { hash: "" as const } }),
    };
    const wrote = await this.#mongo.write(
      async () => {
        try {
          const older = { _id, at: { $lt: at } };
          const { matchedCount, upsertedCount } = await this.#learned.updateOne(
            older,
            update,
            upsert,
          );
          return matchedCount + upsertedCount === 1;
        } catch (error) {
          // The stored document is not older.
          if (isDuplicateKey(error)) return false;
          throw error;
        }
      },
      async () => {
        const stored = await this.#learned.findOne({ _id }, proven);
        return stored?.at.getTime() === atMs && stored.hash === hash;
      },
    );
    await this.#prepareIndex();
    return wrote;
  }

  see(subject: string, day: string): Promise<boolean> {
    return this.#mongo.call(async () => {
      const unseen = { _id: subject, day: { $lt: day } };
      return (await this.#learned.updateOne(unseen, { $set: { day } })).matchedCount === 1;
    });
  }

  forget(subject: string, atMs: number): Promise<boolean> {
    return this.#mongo.write(
      async () =>
        (await this.#learned.deleteOne({ _id: subject, at: new Date(atMs) })).deletedCount === 1,
      async () => (await this.#learned.findOne({ _id: subject }, proven)) === null,
    );
  }

  async forgetAll(): Promise<number> {
    let forgotten = 0;
    await this.#mongo.write(
      async () => {
        forgotten += (await this.#learned.deleteMany({})).deletedCount;
        return true;
      },
      async () => (await this.#learned.findOne({}, proven)) === null,
    );
    return forgotten;
  }

  async count(): Promise<{ users: number; hashes: number }> {
    const [users, hashes] = await this.#mongo.call(() =>
      Promise.all([
        this.#learned.countDocuments({}),
        this.#learned.countDocuments({ hash: { $exists: true } }),
      ]),
    );
    return { users, hashes };
  }

  async *list(): AsyncIterable<LearnedUser> {
    for await (const page of this.#mongo.pages(() => this.#learned.find({}))) {
      yield* page.map(toUser);
    }
  }

  async sampleHashes(size: number): Promise<readonly string[]> {
    const found = await this.#mongo.call(() =>
      this.#learned
        .aggregate<LearnedDocument>([{ $sample: { size } }, { $project: { hash: 1 } }])
        .toArray(),
    );
    return found.flatMap(({ hash }) => hash ?? []);
  }

  async add({ day, counts, differences }: TallyAddition): Promise<void> {
    const sums = Object.entries(counts).map(([name, count]) => [`counts.${name}`, count] as const);
    await this.#mongo.call(async () => {
      if (sums.length > 0) {
        const $inc = Object.fromEntries<number>(sums);
        await this.#others.updateOne({ _id: { day } }, { $inc }, upsert);
      }
      for (const { kind, count, firstAtMs, lastAtMs, examples } of differences) {
        await this.#others.updateOne(
          { _id: { difference: kind } },
          {
            $inc: { count },
            $min: { firstAt: new Date(firstAtMs) },
            $max: { lastAt: new Date(lastAtMs) },
            $push: { examples: { $each: [...examples], $slice: -examplesMax } },
          },
          upsert,
        );
      }
    });
  }

  async days(since: string): Promise<readonly DayCounts[]> {
    const found = await this.#mongo.call(() => this.#others.find({}).toArray());
    return found
      .flatMap(({ _id, counts = {} }) =>
        typeof _id === "object" && "day" in _id ? { day: _id.day, counts } : [],
      )
      .filter(({ day }) => day >= since)
      .sort((a, b) => (a.day < b.day ? -1 : 1));
  }

  async differences(): Promise<readonly StoredDifference[]> {
    const found = await this.#mongo.call(() => this.#others.find({}).toArray());
    return found
      .flatMap(({ _id, count = 0, firstAt, lastAt, examples = [] }) =>
        typeof _id === "object" && "difference" in _id && firstAt && lastAt
          ? {
              kind: _id.difference,
              count,
              firstAtMs: firstAt.getTime(),
              lastAtMs: lastAt.getTime(),
              examples: [...new Set(examples)],
            }
          : [],
      )
      .sort((a, b) => b.count - a.count);
  }

  /** Called by the first write: before it there is nothing to index. */
  async #prepareIndex(): Promise<void> {
    if (this.#hasIndex) return;
    this.#hasIndex = true;
    await this.#mongo
      .call(() => this.#learned.createIndex({ names: 1, at: -1 }))
      .catch(() => (this.#hasIndex = false));
  }
}

function toUser({ _id, hash, at, ...rest }: LearnedDocument): LearnedUser {
  return { ...rest, subject: _id, hash, atMs: at.getTime() };
}
