/**
 * The throttle's documents in the embedded store. Each write also removes a few expired or surplus ones. Depends
 * on the databases and the domain's port.
 */
import { randomUUID } from "node:crypto";
import type { ThrottleDocument, ThrottleStore } from "../../auth/throttle/throttle.js";
import type { StoredDocument, StoreFile } from "./databases.js";

/** More than one, so that the documents of a flood are removed faster than new ones are added. */
const removedPerWriteMax = 4;
const listPageDocuments = 256;

export class EmbeddedThrottle implements ThrottleStore {
  readonly #file: StoreFile;
  readonly #documentsMax: number;

  constructor(file: StoreFile, documentsMax = 100_000) {
    this.#file = file;
    this.#documentsMax = documentsMax;
  }

  read(keys: readonly string[]) {
    return this.#file.read(() => keys.map((key) => this.#file.throttle.documents.get(key)));
  }

  write(
    key: string,
    version: string | undefined,
    document: ThrottleDocument,
  ): Promise<string | undefined> {
    return this.#file.write(() => {
      const stored = this.#file.throttle.documents.get(key);
      if (stored?.version !== version) return undefined;
      if (stored) this.#remove(key, stored);
      const next = { ...document, version: randomUUID() };
      this.#put(key, next);
      this.#sweep();
      return next.version;
    });
  }

  /** This machine's time: only processes on it use the store. */
  now(): number {
    return Date.now();
  }

  async *list(): AsyncIterable<{ key: string; document: string }> {
    let start = "";
    for (;;) {
      const page = await this.#file.read(() => [
        ...this.#file.throttle.documents.getRange({ start, limit: listPageDocuments }),
      ]);
      for (const { key, value } of page) yield { key, document: value.document };
      const last = page.at(-1);
      if (last === undefined) return;
      start = `${last.key}\0`;
    }
  }

  #put(key: string, document: StoredDocument): void {
    const { documents, expiries, disposable } = this.#file.throttle;
    void documents.put(key, document);
    if (document.expiresAtMs === undefined) return;
    void expiries.put([document.expiresAtMs, key], true);
    if (document.isDisposable) void disposable.put([document.expiresAtMs, key], true);
  }

  #remove(key: string, { expiresAtMs }: StoredDocument): void {
    const { documents, expiries, disposable } = this.#file.throttle;
    void documents.remove(key);
    if (expiresAtMs === undefined) return;
    void expiries.remove([expiresAtMs, key]);
    void disposable.remove([expiresAtMs, key]);
  }

  #sweep(): void {
    const { documents, expiries, disposable } = this.#file.throttle;
    const limit = removedPerWriteMax;
    const expired = expiries.getKeys({ end: [Date.now(), ""], limit });
    const { entryCount } = disposable.getStats() as { entryCount: number };
    const surplus = disposable.getKeys({
      limit: Math.min(limit, Math.max(0, entryCount - this.#documentsMax)),
    });
    for (const [, key] of [...expired, ...surplus]) {
      const stored = documents.get(key);
      if (stored) this.#remove(key, stored);
    }
  }
}
