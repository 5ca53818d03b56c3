/** The signing keys' document and the shared secret in MongoDB. Depends on mongodb and the domain's port. */
import { randomBytes } from "node:crypto";
import { Binary } from "mongodb";
import type { Collection } from "mongodb";
import type { KeyStore } from "../../auth/keys/keys.js";
import { proven, type MongoAccess } from "./connection.js";
import { insertNew } from "./written.js";

export interface SecretDocument {
  readonly _id: "secret";
  readonly bytes: Binary;
}

/** The shared secret, 32 random bytes. The first process that may write creates it. */
export async function sharedSecret(
  collection: Collection<SecretDocument>,
  mayCreate: boolean,
): Promise<Uint8Array> {
  const find = () => collection.findOne({ _id: "secret" });
  let stored = await find();
  while (stored === null) {
    // A process that may not write stores nothing that depends on the secret, so any bytes do.
    if (!mayCreate) return randomBytes(32);
    // Another process may have been first; its secret is read below.
    await insertNew<SecretDocument>(collection, {
      _id: "secret",
      bytes: new Binary(randomBytes(32)),
    });
    stored = await find();
  }
  return stored.bytes.value();
}

export interface KeyDocument {
  readonly _id: "keys";
  readonly version: number;
  readonly document: string;
}

export class MongoKeys implements KeyStore {
  readonly #collection: Collection<KeyDocument>;
  readonly #mongo: MongoAccess;

  constructor(collection: Collection<KeyDocument>, mongo: MongoAccess) {
    this.#collection = collection;
    this.#mongo = mongo;
  }

  async load(): Promise<{ version: number; document: string | undefined }> {
    // What only the primary has may be taken back: no key may sign by it, and no command be done by it.
    const stored = await this.#mongo.call(() => this.#collection.findOne({ _id: "keys" }, proven));
    return stored ?? { version: 0, document: undefined };
  }

  save(document: string, expectedVersion: number): Promise<boolean> {
    const version = expectedVersion + 1;
    const saved = { _id: "keys", version, document } as const;
    return this.#mongo.write(
      () => (expectedVersion > 0 ? this.#replace(saved) : insertNew(this.#collection, saved)),
      async () => {
        const stored = await this.#collection.findOne({ _id: "keys" }, proven);
        return stored?.version === version && stored.document === document;
      },
    );
  }

  async #replace({ _id, version, document }: KeyDocument): Promise<boolean> {
    const update = { $set: { version, document } };
    const filter = { _id, version: version - 1 };
    return (await this.#collection.updateOne(filter, update)).matchedCount === 1;
  }
}
