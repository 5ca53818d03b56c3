/** The signing keys' document and the shared secret in MongoDB. Depends on mongodb and the domain's port. */
import { randomBytes } from "node:crypto";
import { Binary, MongoServerError } from "mongodb";
import type { Collection } from "mongodb";
import type { KeyStore } from "../../auth/keys/keys.js";
import type { MongoCall } from "./connection.js";

export interface SecretDocument {
  readonly _id: "secret";
  readonly bytes: Binary;
}

/** 32 random bytes, made by whoever asks first. */
export async function sharedSecret(collection: Collection<SecretDocument>): Promise<Uint8Array> {
  const find = () => collection.findOne({ _id: "secret" });
  let stored = await find();
  while (stored === null) {
    await collection
      .insertOne({ _id: "secret", bytes: new Binary(randomBytes(32)) })
      .catch((error: unknown) => {
        // Another process was first.
        if (!(error instanceof MongoServerError) || error.code !== 11_000) throw error;
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
  readonly #call: MongoCall;

  constructor(collection: Collection<KeyDocument>, call: MongoCall) {
    this.#collection = collection;
    this.#call = call;
  }

  async load(): Promise<{ version: number; document: string | undefined }> {
    const stored = await this.#call(() => this.#collection.findOne({ _id: "keys" }));
    return stored ?? { version: 0, document: undefined };
  }

  save(document: string, expectedVersion: number): Promise<boolean> {
    const version = expectedVersion + 1;
    return this.#call(async () => {
      if (expectedVersion > 0) {
        const { matchedCount } = await this.#collection.updateOne(
          { _id: "keys", version: expectedVersion },
          { $set: { version, document } },
        );
        return matchedCount === 1;
      }
      try {
        await this.#collection.insertOne({ _id: "keys", version, document });
        return true;
      } catch (error) {
        if (error instanceof MongoServerError && error.code === 11_000) return false;
        throw error;
      }
    });
  }
}
