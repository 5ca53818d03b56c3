/**
 * The end of a take-over: moves what was learnt into the users' collection. It can be interrupted after any step
 * and run again. Depends on auth's users and its neighbours.
 */
import type { User, UserStore } from "../auth/users.js";
import { strangerOf } from "./known-users.js";
import type { LearnedUser, TakeoverStore } from "./store.js";

/**
 * The outcome for one learnt user. These are done:
 * `moved`: the learnt hash was written into the users' collection.
 * `made`: a new user with the learnt hash was added to it.
 * `already`: the user there has the hash already.
 * `kept`: the user's own hash stays, because it is newer or the old server confirmed it.
 * `without_hash`: the user has no hash there, and none was learnt.
 *
 * These are left as they are:
 * `refused`: the old server has refused the password of the user's own hash.
 * `unknown_password`: there is no such user, and no password was learnt.
 * `username_taken`, `id_taken`: another user has the name or the `_id`.
 * `changed`: the user was changed meanwhile, or the hash could not be stored.
 */
export type FinishOutcome =
  | "moved"
  | "made"
  | "already"
  | "kept"
  | "without_hash"
  | "refused"
  | "unknown_password"
  | "username_taken"
  | "id_taken"
  | "changed";

export interface FinishOptions {
  readonly store: TakeoverStore;
  readonly users: UserStore;
  readonly dryRun: boolean;
  readonly onOutcome: (user: LearnedUser, outcome: FinishOutcome) => void | Promise<void>;
  /** Stops the work between two users. */
  readonly signal?: AbortSignal | undefined;
}

/** After these outcomes the learnt user can be forgotten. */
const settled: readonly FinishOutcome[] = ["moved", "made", "already", "kept", "without_hash"];

/** Moves all learnt users. @throws AuthError `store_unavailable`, or the reason of `signal` */
export async function finish(options: FinishOptions): Promise<void> {
  const { store, dryRun, onOutcome, signal } = options;
  for await (const learned of store.list()) {
    signal?.throwIfAborted();
    const outcome = await settle(learned, options);
    if (!dryRun && settled.includes(outcome)) await store.forget(learned.subject, learned.atMs);
    await onOutcome(learned, outcome);
  }
}

async function settle(
  learned: LearnedUser,
  { users, dryRun }: FinishOptions,
): Promise<FinishOutcome> {
  const { subject, hash, ownHashCounts } = learned;
  const user = await userOf(subject, users);
  if (user === undefined) return make(learned, users, dryRun);
  if (hash === undefined) {
    if (user.passwordHash === undefined) return "without_hash";
    return ownHashCounts ? "kept" : "refused";
  }
  if (user.passwordHash === hash) return "already";
  // The password was set here after the old server's yes, by `users passwd` or an import.
  const isNewer = (user.tokensValidAfter?.getTime() ?? 0) > learned.atMs;
  if (isNewer && user.passwordHash !== undefined) return "kept";
  if (dryRun) return "moved";
  return (await users.replacePasswordHash(user.id, user.passwordHash, hash)) ? "moved" : "changed";
}

async function make(
  { subject, username, hash }: LearnedUser,
  users: UserStore,
  dryRun: boolean,
): Promise<FinishOutcome> {
  if (hash === undefined) return "unknown_password";
  const user = { ...strangerOf({ subject, username }), passwordHash: hash };
  if (dryRun) {
    return (await users.findByUsername(username)) === undefined ? "made" : "username_taken";
  }
  const outcome = await users.add(user);
  return outcome === "added" ? "made" : outcome;
}

/** The user with this subject, with the hash. */
async function userOf(subject: string, users: UserStore): Promise<User | undefined> {
  const account = await users.findBySubject(subject);
  const user = account && (await users.findByUsername(account.username));
  return user?.id.value === subject ? user : undefined;
}
