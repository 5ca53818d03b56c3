/**
 * The end of a take-over: what was learnt becomes the users' own. Each step leaves things whole, so that it
 * can be cut short anywhere and run again. Depends on auth's users and its neighbours.
 */
import type { User, UserStore } from "../auth/users.js";
import { strangerOf } from "./known-users.js";
import type { LearnedUser, TakeoverStore } from "./store.js";

/**
 * What became of one learnt user. `moved`: the users collection has the hash. `made`: so it has, and the user is
 * new there. `already`: it had the hash. `kept`: the hash there stays, which is newer or was confirmed.
 * `without_hash`: the user there has none, and none was learnt. The others are left as they are: `refused`: the old
 * server has refused the password whose hash is there; `unknown_password`: the user is not there, and no password
 * was learnt; the name or the `_id` belongs to another user; or it changed meanwhile.
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
  /** Looked at between two users. */
  readonly signal?: AbortSignal | undefined;
}

/** After these there is nothing left to keep of the user. */
const settled: readonly FinishOutcome[] = ["moved", "made", "already", "kept", "without_hash"];

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
  // A password that was set here after the old server's yes: users passwd, an import.
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

/** The user with the hash, by the subject. */
async function userOf(subject: string, users: UserStore): Promise<User | undefined> {
  const account = await users.findBySubject(subject);
  const user = account && (await users.findByUsername(account.username));
  return user?.id.value === subject ? user : undefined;
}
