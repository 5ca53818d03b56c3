/** The administration log in the embedded store. Depends on the databases and the domain's port. */
import { randomUUID } from "node:crypto";
import {
  auditEntriesMax,
  auditIdOf,
  type AuditEntry,
  type AuditOutcome,
  type AuditStore,
  type StoredAuditEntry,
} from "../../auth/audit.js";
import type { StoreFile } from "./databases.js";

const listPageEntries = 256;

export class EmbeddedAudit implements AuditStore {
  readonly #file: StoreFile;
  readonly #entriesMax: number;

  constructor(file: StoreFile, entriesMax = auditEntriesMax) {
    this.#file = file;
    this.#entriesMax = entriesMax;
  }

  add(entry: AuditEntry): Promise<string> {
    const { audit } = this.#file;
    const id = auditIdOf(entry.atMs, randomUUID());
    return this.#file.write(() => {
      void audit.put(id, { ...entry, outcome: "unknown" });
      const { entryCount } = audit.getStats() as { entryCount: number };
      const limit = Math.max(0, entryCount - this.#entriesMax);
      for (const oldest of [...audit.getKeys({ limit })]) void audit.remove(oldest);
      return id;
    });
  }

  settle(
    id: string,
    outcome: AuditOutcome,
    details?: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    return this.#file.write(() => {
      const stored = this.#file.audit.get(id);
      if (stored === undefined) return;
      const merged = details && { details: { ...stored.details, ...details } };
      void this.#file.audit.put(id, { ...stored, ...merged, outcome });
    });
  }

  async *list(sinceMs: number): AsyncIterable<StoredAuditEntry> {
    let start = auditIdOf(sinceMs, "");
    for (;;) {
      const page = await this.#file.read(() => [
        ...this.#file.audit.getRange({ start, limit: listPageEntries }),
      ]);
      for (const { key, value } of page) yield { ...value, id: key };
      const last = page.at(-1);
      if (last === undefined) return;
      start = `${last.key}\0`;
    }
  }
}
