/**
 * The throttle's documents in MongoDB, expired by it. Depends on mongodb and the domain's port.
 */
import { randomUUID } from "node:crypto";
import { MongoServerError, type Collection } from "mongodb";
import type { ThrottleDocument, ThrottleStore } from "../../auth/throttle/throttle.js";
import type { MongoCall } from "./connection.js";

export interface StoredThrottleDocument {
  readonly _id: string;
  readonly version: string;
  readonly document: string;
  readonly isDisposable: boolean;
  /** Absent where it never expires. */
  readonly expiresAt?: Date;
}

const duplicateKey = 11_000;
/** How many new documents a process adds until it looks whether there are too many. */
const insertsPerSweep = 1000;

export class MongoThrottle implements ThrottleStore {
  readonly #collection: Collection<StoredThrottleDocument>;
  readonly #call: MongoCall;
  readonly #documentsMax: number;
  #prepared: Promise<unknown> | undefined;
  #insertsUntilSweep: number;

  constructor(
    collection: Collection<StoredThrottleDocument>,
    call: MongoCall,
    documentsMax = 100_000,
  ) {
    this.#collection = collection;
    this.#call = call;
    this.#documentsMax = documentsMax;
    this.#insertsUntilSweep = Math.min(insertsPerSweep, documentsMax);
  }

  async read(keys: readonly string[]) {
    const found = await this.#call(() =>
      this.#collection.find({ _id: { $in: [...keys] } }).toArray(),
    );
    return keys.map((key) => found.find(({ _id }) => _id === key));
  }

  write(
    key: string,
    version: string | undefined,
    { document, expiresAtMs, isDisposable }: ThrottleDocument,
  ): Promise<string | undefined> {
    const next = {
      version: randomUUID(),
      document,
      isDisposable,
      ...(expiresAtMs !== undefined && { expiresAt: new Date(expiresAtMs) }),
    };
    return this.#call(async () => {
      if (version !== undefined) {
        const { matchedCount } = await this.#collection.replaceOne({ _id: key, version }, next);
        return matchedCount === 1 ? next.version : undefined;
      }
      try {
        await this.#collection.insertOne({ _id: key, ...next });
        this.#tidy();
        return next.version;
      } catch (error) {
        if (error instanceof MongoServerError && error.code === duplicateKey) return undefined;
        throw error;
      }
    });
  }

  async *list(): AsyncIterable<{ key: string; document: string }> {
    let after = "";
    for (;;) {
      const page = await this.#call(() =>
        this.#collection
          .find({ _id: { $gt: after } })
          .sort({ _id: 1 })
          .limit(256)
          .toArray(),
      );
      for (const { _id, document } of page) yield { key: _id, document };
      const last = page.at(-1);
      if (last === undefined) return;
      after = last._id;
    }
  }

  /** Holds up no write; what fails is tried again after a later one. */
  #tidy(): void {
    this.#prepared ??= this.#call(() =>
      this.#collection.createIndexes([
        { key: { expiresAt: 1 }, expireAfterSeconds: 0 },
        { key: { isDisposable: 1, expiresAt: 1 } },
      ]),
    ).catch(() => (this.#prepared = undefined));
    if (--this.#insertsUntilSweep > 0) return;
    this.#insertsUntilSweep = Math.min(insertsPerSweep, this.#documentsMax);
    void this.#call(() => this.#removeSurplus()).catch(() => undefined);
  }

  async #removeSurplus(): Promise<void> {
    const disposable = { isDisposable: true };
    const limit = this.#documentsMax + 10 * insertsPerSweep;
    const surplus =
      (await this.#collection.countDocuments(disposable, { limit })) - this.#documentsMax;
    if (surplus <= 0) return;
    const oldest = await this.#collection
      .find(disposable, { projection: { _id: 1 } })
      .sort({ expiresAt: 1 })
      .limit(surplus)
      .toArray();
    await this.#collection.deleteMany({ _id: { $in: oldest.map(({ _id }) => _id) } });
  }
}
