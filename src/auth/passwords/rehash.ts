/**
 * Replaces weak password hashes after a login has proved the password. Depends on passwords and users.
 */
import { hashPassword, needsRehash } from "./passwords.js";
import type { User, UserStore } from "../users.js";

export interface Rehasher {
  /**
   * Called after a successful login; returns at once. If the stored hash is weaker than Latchkey's, replaces it
   * with a new one, unless the password was changed meanwhile. Computes one at a time: a rehash that is skipped
   * because another one runs is done at a later login.
   */
  loggedIn(user: User, password: string): void;
  /** Resolves when no rehash is running. */
  settled(): Promise<void>;
}

/** The rehasher of `REHASH=off`. */
export const noRehasher: Rehasher = {
  loggedIn: () => undefined,
  settled: () => Promise.resolve(),
};

export function createRehasher(deps: {
  readonly users: Pick<UserStore, "replacePasswordHash">;
  /** Called with the error of a failed rehash, after the login was answered. */
  readonly onError: (error: unknown) => void;
  readonly hash?: (password: string) => Promise<string>;
}): Rehasher {
  const { users, onError, hash = hashPassword } = deps;
  let current: Promise<void> | undefined;

  async function replace(user: User, oldHash: string, password: string): Promise<void> {
    // Waits for the next turn of the event loop, so that the login is answered first.
    await new Promise(setImmediate);
    await users.replacePasswordHash(user.id, oldHash, await hash(password));
  }

  return {
    loggedIn(user, password) {
      const { passwordHash } = user;
      if (current || passwordHash === undefined || !needsRehash(passwordHash, password)) return;
      current = replace(user, passwordHash, password)
        .catch(onError)
        .finally(() => (current = undefined));
    },
    settled: () => current ?? Promise.resolve(),
  };
}
