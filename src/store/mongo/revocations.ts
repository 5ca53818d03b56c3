/** What was revoked, in a collection of our own. Depends on mongodb and the port. */
import type { Collection } from "mongodb";
import type { Revocation, RevocationStore } from "../../revocations/store.js";
import type { MongoCall } from "./connection.js";

/** A revocation by its subject, or with `changes` how often any was added. */
export interface RevocationDocument {
  readonly _id: { readonly subject: string } | "changes";
  readonly at?: Date;
  readonly expiresAt?: Date;
  readonly count?: number;
}

export class MongoRevocations implements RevocationStore {
  readonly #collection: Collection<RevocationDocument>;
  readonly #call: MongoCall;
  #hasIndex = false;

  constructor(collection: Collection<RevocationDocument>, call: MongoCall) {
    this.#collection = collection;
    this.#call = call;
  }

  async add({ subject, atMs }: Revocation, expiresAtMs: number): Promise<void> {
    const latest = { at: new Date(atMs), expiresAt: new Date(expiresAtMs) };
    const upsert = { upsert: true };
    await this.#call(async () => {
      // Applied twice it says the same.
      await this.#collection.updateOne({ _id: { subject } }, { $max: latest }, upsert);
      await this.#collection.updateOne({ _id: "changes" }, { $inc: { count: 1 } }, upsert);
    });
    if (this.#hasIndex) return;
    this.#hasIndex = true;
    // It only tidies up: what has expired is not listed.
    await this.#call(() =>
      this.#collection.createIndex({ expiresAt: 1 }, { expireAfterSeconds: 0 }, undefined),
    ).catch(() => (this.#hasIndex = false));
  }

  async version(): Promise<string> {
    const changes = await this.#call(() => this.#collection.findOne({ _id: "changes" }));
    return String(changes?.count ?? 0);
  }

  async list(nowMs: number, most: number): Promise<readonly Revocation[]> {
    const current = { expiresAt: { $gt: new Date(nowMs) } };
    const documents = await this.#call(() =>
      this.#collection.find(current).sort({ at: -1 }).limit(most).toArray(),
    );
    return documents.flatMap(({ _id, at }) =>
      typeof _id === "object" && at ? { subject: _id.subject, atMs: at.getTime() } : [],
    );
  }
}
