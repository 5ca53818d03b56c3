import type { KeyStore } from "../../src/auth/keys/key-set.js";

/** A key store for tests of the domain. Its compare-and-set is atomic, since it awaits nothing. */
export class MemoryKeyStore implements KeyStore {
  version = 0;
  document: string | undefined;

  load(): Promise<{ version: number; document: string | undefined }> {
    return Promise.resolve({ version: this.version, document: this.document });
  }

  save(document: string, expectedVersion: number): Promise<boolean> {
    if (this.version !== expectedVersion) return Promise.resolve(false);
    this.document = document;
    this.version++;
    return Promise.resolve(true);
  }
}
