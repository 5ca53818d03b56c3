/** The administration log in MongoDB. Depends on mongodb and the domain's port. */
import { randomUUID } from "node:crypto";
import type { Collection } from "mongodb";
import {
  auditEntriesMax,
  auditIdOf,
  type AuditEntry,
  type AuditOutcome,
  type AuditStore,
  type StoredAuditEntry,
} from "../../auth/audit.js";
import { proven, type MongoAccess } from "./connection.js";
import { hasUpdate, insertNew } from "./written.js";

export interface AuditDocument extends Omit<StoredAuditEntry, "id"> {
  readonly _id: string;
}

const listPageEntries = 256;

export class MongoAudit implements AuditStore {
  readonly #collection: Collection<AuditDocument>;
  readonly #mongo: MongoAccess;
  readonly #entriesMax: number;

  constructor(
    collection: Collection<AuditDocument>,
    mongo: MongoAccess,
    entriesMax = auditEntriesMax,
  ) {
    this.#collection = collection;
    this.#mongo = mongo;
    this.#entriesMax = entriesMax;
  }

  async add(entry: AuditEntry): Promise<string> {
    const _id = auditIdOf(entry.atMs, randomUUID());
    const document = { ...entry, _id, outcome: "unknown" } as const;
    await this.#mongo.write(
      () => insertNew(this.#collection, document),
      async () => (await this.#collection.findOne({ _id }, proven)) !== null,
    );
    const [surplus] = await this.#mongo.call(() =>
      this.#collection
        .find({}, { projection: { _id: 1 } })
        .sort({ _id: -1 })
        .skip(this.#entriesMax)
        .limit(1)
        .toArray(),
    );
    if (surplus)
      await this.#mongo.call(() => this.#collection.deleteMany({ _id: { $lte: surplus._id } }));
    return _id;
  }

  async settle(
    id: string,
    outcome: AuditOutcome,
    details: Readonly<Record<string, unknown>> = {},
  ): Promise<void> {
    const added = Object.entries(details).map(
      ([name, value]) => [`details.${name}`, value] as const,
    );
    const update = { $set: { outcome, ...Object.fromEntries<unknown>(added) } };
    await this.#mongo.write(
      async () => (await this.#collection.updateOne({ _id: id }, update)).matchedCount === 1,
      async () => {
        const stored = await this.#collection.findOne({ _id: id }, proven);
        return stored !== null && hasUpdate(stored, update);
      },
    );
  }

  async *list(sinceMs: number): AsyncIterable<StoredAuditEntry> {
    let after = auditIdOf(sinceMs, "");
    for (;;) {
      const page = await this.#mongo.call(() =>
        this.#collection
          .find({ _id: { $gt: after } })
          .sort({ _id: 1 })
          .limit(listPageEntries)
          .toArray(),
      );
      for (const { _id, ...entry } of page) yield { ...entry, id: _id };
      const last = page.at(-1);
      if (last === undefined) return;
      after = last._id;
    }
  }
}
