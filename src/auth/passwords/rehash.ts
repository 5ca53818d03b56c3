/**
 * Replaces weak password hashes once a login has proved the password. Depends on passwords and users.
 */
import { hashPassword, needsRehash } from "./passwords.js";
import type { User, UserStore } from "../users.js";

export interface Rehasher {
  /**
   * Takes note of a successful login and returns at once. Where the stored hash is weaker than ours a
   * new one takes its place, unless another password was set meanwhile. One at a time: the users who
   * log in while another's is being made have theirs made at a later login.
   */
  loggedIn(user: User, password: string): void;
  /** Resolves when nothing is under way. */
  settled(): Promise<void>;
}

/** What `REHASH=off` asks for. */
export const noRehasher: Rehasher = {
  loggedIn: () => undefined,
  settled: () => Promise.resolve(),
};

export function createRehasher(deps: {
  readonly users: Pick<UserStore, "replacePasswordHash">;
  /** Told of what went wrong; the login has been answered by then. */
  readonly onError: (error: unknown) => void;
  readonly hash?: (password: string) => Promise<string>;
}): Rehasher {
  const { users, onError, hash = hashPassword } = deps;
  let current: Promise<void> | undefined;

  async function replace(user: User, oldHash: string, password: string): Promise<void> {
    // After the answer: whatever is due in this turn of the event loop goes first.
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
