/** The throttle's documents in MongoDB, which removes expired ones. Depends on mongodb and the domain's port. */
import { randomUUID } from "node:crypto";
import type { Collection } from "mongodb";
import type { ThrottleDocument, ThrottleStore } from "../../auth/throttle/throttle.js";
import { proven, type MongoAccess } from "./connection.js";
import { insertNew } from "./written.js";

export interface StoredThrottleDocument {
  readonly _id: string;
  readonly version: string;
  readonly document: string;
  readonly isDisposable: boolean;
  /** Absent if the document never expires. */
  readonly expiresAt?: Date;
}

/** How many documents a process inserts between two checks for surplus ones. */
const insertsPerSweep = 1000;

export class MongoThrottle implements ThrottleStore {
  readonly #collection: Collection<StoredThrottleDocument>;
  readonly #mongo: Pick<MongoAccess, "call" | "write">;
  readonly #documentsMax: number;
  /** The store's time. */
  readonly now: () => number;
  #prepared: Promise<unknown> | undefined;
  #insertsUntilSweep: number;

  constructor(
    collection: Collection<StoredThrottleDocument>,
    mongo: Pick<MongoAccess, "call" | "write">,
    now: () => number,
    documentsMax = 100_000,
  ) {
    this.#collection = collection;
    this.#mongo = mongo;
    this.now = now;
    this.#documentsMax = documentsMax;
    this.#insertsUntilSweep = Math.min(insertsPerSweep, documentsMax);
  }

  async read(keys: readonly string[]) {
    const found = await this.#mongo.call(() =>
      this.#collection.find({ _id: { $in: [...keys] } }).toArray(),
    );
    return keys.map((key) => found.find(({ _id }) => _id === key));
  }

  async write(
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
    const wrote = await this.#mongo.write(
      () =>
        version === undefined
          ? insertNew(this.#collection, { _id: key, ...next })
          : this.#replace({ _id: key, version }, next),
      // The version is random, so a document that has it is this one.
      async () =>
        (await this.#collection.findOne({ _id: key, version: next.version }, proven)) !== null,
    );
    if (wrote && version === undefined) this.#tidy();
    return wrote ? next.version : undefined;
  }

  async #replace(
    previous: Pick<StoredThrottleDocument, "_id" | "version">,
    next: Omit<StoredThrottleDocument, "_id">,
  ): Promise<boolean> {
    return (await this.#collection.replaceOne(previous, next)).matchedCount === 1;
  }

  async *list(): AsyncIterable<{ key: string; document: string }> {
    let after = "";
    for (;;) {
      const page = await this.#mongo.call(() =>
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

  /** Makes the indexes, and now and then removes surplus documents. Not awaited; a later write repeats what failed. */
  #tidy(): void {
    this.#prepared ??= this.#mongo
      .call(() =>
        this.#collection.createIndexes([
          { key: { expiresAt: 1 }, expireAfterSeconds: 0 },
          { key: { isDisposable: 1, expiresAt: 1 } },
        ]),
      )
      .catch(() => (this.#prepared = undefined));
    if (--this.#insertsUntilSweep > 0) return;
    this.#insertsUntilSweep = Math.min(insertsPerSweep, this.#documentsMax);
    void this.#mongo.call(() => this.#removeSurplus()).catch(() => undefined);
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
