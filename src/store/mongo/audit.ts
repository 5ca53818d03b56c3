/** The record of administration in MongoDB. Depends on mongodb and the domain's port. */
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
import type { MongoCall } from "./connection.js";

export interface AuditDocument extends Omit<StoredAuditEntry, "id"> {
  readonly _id: string;
}

const listPageEntries = 256;

export class MongoAudit implements AuditStore {
  readonly #collection: Collection<AuditDocument>;
  readonly #call: MongoCall;
  readonly #entriesMax: number;

  constructor(
    collection: Collection<AuditDocument>,
    call: MongoCall,
    entriesMax = auditEntriesMax,
  ) {
    this.#collection = collection;
    this.#call = call;
    this.#entriesMax = entriesMax;
  }

  async add(entry: AuditEntry): Promise<string> {
    const _id = auditIdOf(entry.atMs, randomUUID());
    await this.#call(() => this.#collection.insertOne({ ...entry, _id, outcome: "unknown" }));
    const [surplus] = await this.#call(() =>
      this.#collection
        .find({}, { projection: { _id: 1 } })
        .sort({ _id: -1 })
        .skip(this.#entriesMax)
        .limit(1)
        .toArray(),
    );
    if (surplus)
      await this.#call(() => this.#collection.deleteMany({ _id: { $lte: surplus._id } }));
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
    await this.#call(() => this.#collection.updateOne({ _id: id }, update));
  }

  async *list(sinceMs: number): AsyncIterable<StoredAuditEntry> {
    let after = auditIdOf(sinceMs, "");
    for (;;) {
      const page = await this.#call(() =>
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
