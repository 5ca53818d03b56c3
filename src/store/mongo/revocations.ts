/** The revocations in MongoDB. Depends on mongodb and the port. */
import { randomUUID } from "node:crypto";
import type { Collection, UpdateFilter } from "mongodb";
import type { Revocation, RevocationStore } from "../../revocations/store.js";
import { proven, type MongoAccess } from "./connection.js";

/** A revocation by its subject; or, under `changes`, the count of all additions. */
export interface RevocationDocument {
  readonly _id: { readonly subject: string } | "changes";
  readonly at?: Date;
  readonly expiresAt?: Date;
  readonly count?: number;
  /** A random id of the addition that was counted last. */
  readonly change?: string;
}

export class MongoRevocations implements RevocationStore {
  readonly #collection: Collection<RevocationDocument>;
  readonly #mongo: MongoAccess;
  #hasIndex = false;

  constructor(collection: Collection<RevocationDocument>, mongo: MongoAccess) {
    this.#collection = collection;
    this.#mongo = mongo;
  }

  async add({ subject, atMs }: Revocation, expiresAtMs: number): Promise<void> {
    const latest = { at: new Date(atMs), expiresAt: new Date(expiresAtMs) };
    await this.#write(
      { subject },
      { $max: latest },
      ({ at }) => at !== undefined && at >= latest.at,
    );
    const change = randomUUID();
    const counted = { $inc: { count: 1 }, $set: { change } };
    await this.#write("changes", counted, (stored) => stored.change === change);
    if (this.#hasIndex) return;
    this.#hasIndex = true;
    // The index only removes expired documents, which `list` leaves out anyway; so its failure does not matter.
    await this.#mongo
      .call(() =>
        this.#collection.createIndex({ expiresAt: 1 }, { expireAfterSeconds: 0 }, undefined),
      )
      .catch(() => (this.#hasIndex = false));
  }

  /** Writes an update and checks it by `isDone` if the answer was lost. */
  async #write(
    _id: RevocationDocument["_id"],
    update: UpdateFilter<RevocationDocument>,
    isDone: (stored: RevocationDocument) => boolean,
  ): Promise<void> {
    await this.#mongo.write(
      async () =>
        (await this.#collection.updateOne({ _id }, update, { upsert: true })).acknowledged,
      async () => {
        const stored = await this.#collection.findOne({ _id }, proven);
        return stored !== null && isDone(stored);
      },
    );
  }

  async version(): Promise<string> {
    const changes = await this.#mongo.call(() => this.#collection.findOne({ _id: "changes" }));
    return String(changes?.count ?? 0);
  }

  async list(nowMs: number, most: number): Promise<readonly Revocation[]> {
    const current = { expiresAt: { $gt: new Date(nowMs) } };
    const documents = await this.#mongo.call(() =>
      this.#collection.find(current).sort({ at: -1 }).limit(most).toArray(),
    );
    return documents.flatMap(({ _id, at }) =>
      typeof _id === "object" && at ? { subject: _id.subject, atMs: at.getTime() } : [],
    );
  }
}
