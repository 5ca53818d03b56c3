/** The signing keys' document in the embedded store. Depends on the databases and the domain's port. */
import type { KeyStore } from "../../auth/keys/keys.js";
import type { StoreFile } from "./databases.js";

interface KeyRecord {
  readonly version: number;
  readonly document: string | undefined;
}

export class EmbeddedKeys implements KeyStore {
  readonly #file: StoreFile;

  constructor(file: StoreFile) {
    this.#file = file;
  }

  load(): Promise<KeyRecord> {
    return this.#file.read(() => this.#stored());
  }

  save(document: string, expectedVersion: number): Promise<boolean> {
    return this.#file.write(() => {
      if (this.#stored().version !== expectedVersion) return false;
      void this.#file.meta.put("keys", { version: expectedVersion + 1, document });
      return true;
    });
  }

  #stored(): KeyRecord {
    const record = this.#file.meta.get("keys") as KeyRecord | undefined;
    return record ?? { version: 0, document: undefined };
  }
}
