/**
 * What the records, counters and trust of one attempt are called: hashes, so that what is stored names nobody.
 * Depends on node:crypto and auth.
 */
import { createHmac } from "node:crypto";
import type { UsernameKey } from "../usernames.js";
import type { UserId } from "../users.js";
import { foldUsername } from "./username-fold.js";

export interface AttemptKeys {
  /** The record of the name, however it is spelt. */
  readonly user: string;
  /** The record of the network; undefined where that is exempt. */
  readonly network: string | undefined;
  /** The record of the networks that the account of exactly this name has logged in from. */
  readonly trust: string;
  /** The counter of the name with the network. */
  readonly pair: string;
  /** An account's trust in the network. */
  readonly trustOf: (account: UserId) => string;
}

export interface KeyOptions {
  /** Random bytes, the same for all that share the store: what names and networks are hashed with. */
  readonly secret: () => Promise<Uint8Array>;
  /** Networks that have no limit of their own. */
  readonly isExempt: (network: string) => boolean;
  /** What two names of one user have in common. */
  readonly usernameKey: UsernameKey;
}

export class Keys {
  readonly #options: KeyOptions;
  readonly #secret: () => Promise<Uint8Array>;

  constructor(options: KeyOptions) {
    this.#options = options;
    this.#secret = once(options.secret);
  }

  async of(username: string, network: string): Promise<AttemptKeys> {
    const key = await this.#secret();
    const hash = (...parts: string[]) =>
      createHmac("sha256", key).update(JSON.stringify(parts)).digest("base64url");
    const ownName = this.#options.usernameKey(username);
    const name = foldUsername(ownName);
    return {
      user: `user:${hash("user", name)}`,
      network: this.#options.isExempt(network) ? undefined : `network:${hash("network", network)}`,
      trust: `trust:${hash("trust", ownName)}`,
      pair: hash("pair", name, network).slice(0, 16),
      trustOf: ({ type, value }) =>
        [hash("account", type, value), hash("known", type, value, network)]
          .map((part) => part.slice(0, 16))
          .join("."),
    };
  }
}

/** Asks once for all; after a failure again. */
function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined;
  return () =>
    (answer ??= ask().catch((error: unknown) => {
      answer = undefined;
      throw error;
    }));
}
