/**
 * The names of an attempt's records, counters and trust. They are hashes, so that they reveal no
 * user. Depends on node:crypto and auth.
 */
import { createHmac } from "node:crypto";
import type { UsernameKey } from "../usernames.js";
import type { UserId } from "../users.js";
import { foldUsername } from "./username-fold.js";

export interface AttemptKeys {
  /** The record of the username in every spelling. */
  readonly user: string;
  /** The record of the network; undefined if the network is exempt. */
  readonly network: string | undefined;
  /** The record of the networks that the account with exactly this username has logged in from. */
  readonly trust: string;
  /** The counter of this username with this network. */
  readonly pair: string;
  /** An account's trust in this network. */
  readonly trustOf: (account: UserId) => string;
}

export interface KeyOptions {
  /** Random bytes to hash usernames and networks with, the same for all processes on the store. */
  readonly secret: () => Promise<Uint8Array>;
  /** Whether a network has no limit of its own. */
  readonly isExempt: (network: string) => boolean;
  /** The same text for two spellings of one username. */
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

/** Asks only once; after a failure, again. */
function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined;
  return () =>
    (answer ??= ask().catch((error: unknown) => {
      answer = undefined;
      throw error;
    }));
}
