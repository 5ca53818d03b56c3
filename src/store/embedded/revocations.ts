/** The revocations in the embedded store. Depends on lmdb, the databases and the port. */
import type { Database } from "lmdb";
import type { Revocation, RevocationStore } from "../../revocations/store.js";
import type { StoreFile } from "./databases.js";

interface Stored extends Revocation {
  readonly expiresAtMs: number;
}

const changesKey = "revocationChanges";

export class EmbeddedRevocations implements RevocationStore {
  readonly #file: StoreFile;
  #database: Database<Stored, Buffer> | undefined;

  constructor(file: StoreFile) {
    this.#file = file;
  }

  add({ subject, atMs }: Revocation, expiresAtMs: number): Promise<void> {
    const database = this.#open();
    const key = this.#file.keyOf(subject);
    return this.#file.write(() => {
      const stored = database.get(key);
      if (stored === undefined || stored.atMs < atMs) {
        void database.put(key, { subject, atMs, expiresAtMs });
      }
      // Each write removes a few expired entries, too.
      for (const next of [...database.getRange({ limit: sweptPerWrite, start: key })]) {
        if (next.value.expiresAtMs < atMs) void database.remove(next.key);
      }
      void this.#file.meta.put(changesKey, this.#changes() + 1);
    });
  }

  version(): Promise<string> {
    return this.#file.read(() => String(this.#changes()));
  }

  list(nowMs: number, most: number): Promise<readonly Revocation[]> {
    const database = this.#open();
    return this.#file.read(() =>
      [...database.getRange()]
        .map(({ value }) => value)
        .filter(({ expiresAtMs }) => expiresAtMs > nowMs)
        .sort((a, b) => b.atMs - a.atMs)
        .slice(0, most)
        .map(({ subject, atMs }) => ({ subject, atMs })),
    );
  }

  #changes(): number {
    return Number(this.#file.meta.get(changesKey) ?? 0);
  }

  /** Opened at first use, because opening creates the database. */
  #open(): Database<Stored, Buffer> {
    return (this.#database ??= this.#file.openDatabase<Stored>("revocations"));
  }
}

const sweptPerWrite = 8;
