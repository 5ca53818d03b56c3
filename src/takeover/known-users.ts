/**
 * The users during a take-over: those of the users' collection, with the learnt hash if there is one, and those
 * that only the old server knows. Depends on auth's users and the port.
 */
import {
  toUserId,
  userIdsOfSubject,
  type Account,
  type User,
  type UserId,
  type UserStore,
} from "../auth/users.js";
import type { UsernameKey } from "../auth/usernames.js";
import type { LearnedUser, TakeoverStore } from "./store.js";

export interface KnownUsersOptions {
  readonly users: UserStore;
  readonly learned: Pick<TakeoverStore, "findByName" | "findBySubject" | "sampleHashes">;
  readonly usernameKey: UsernameKey;
}

/** A subject that no user has. */
const nobody = " ";

export class KnownUsers implements Pick<
  UserStore,
  "findByUsername" | "findBySubject" | "sampleHashes"
> {
  readonly #options: KnownUsersOptions;
  readonly #records = new WeakMap<User, LearnedUser>();

  constructor(options: KnownUsersOptions) {
    this.#options = options;
  }

  /** What was learnt of a user that `findByUsername` returned. */
  recordOf(user: User | undefined): LearnedUser | undefined {
    return user && this.#records.get(user);
  }

  async findByUsername(username: string): Promise<User | undefined> {
    const { users, learned, usernameKey } = this.#options;
    const [own, record] = await Promise.all([
      users.findByUsername(username),
      learned.findByName(usernameKey(username)),
    ]);
    // Looked up for every name, so that the response time does not reveal users that only the old server knows.
    const holders = await users.existing(userIdsOfSubject(record?.subject ?? nobody));
    if (record === undefined) return own;
    const user = own?.id.value === record.subject ? own : await this.#userOf(record, holders);
    const known = { ...user, passwordHash: hashOf(user, record) };
    this.#records.set(known, record);
    return known;
  }

  async findBySubject(subject: string): Promise<Account | undefined> {
    const { users, learned } = this.#options;
    const [record, holders] = await Promise.all([
      learned.findBySubject(subject),
      users.existing(userIdsOfSubject(subject)),
    ]);
    // Not called for a user who does not exist: a store that records revocations would take him for removed.
    if (holders.length > 0) return users.findBySubject(subject);
    return record && strangerOf(record);
  }

  /** The user of a record who was asked for by another name, without the hash. */
  async #userOf(record: LearnedUser, holders: readonly UserId[]): Promise<User> {
    const account = holders[0] && (await this.#options.users.findBySubject(record.subject));
    return account ? { ...account, passwordHash: undefined } : strangerOf(record);
  }

  /** Samples both collections, so that decoys cost what the users' hashes cost. */
  async sampleHashes(size: number): Promise<readonly string[]> {
    const { users, learned } = this.#options;
    const samples = [users.sampleHashes(size), learned.sampleHashes(size)];
    return (await Promise.all(samples)).flat();
  }
}

function hashOf({ passwordHash }: User, { hash, ownHashCounts }: LearnedUser): string | undefined {
  return hash ?? (ownHashCounts ? passwordHash : undefined);
}

/** A user that only the old server knows. */
export function strangerOf({ subject, username }: Pick<LearnedUser, "subject" | "username">): User {
  return {
    id: idOf(subject),
    username,
    passwordHash: undefined,
    disabled: false,
    roles: [],
    tokensValidAfter: undefined,
  };
}

/** The likeliest `_id` for a subject, by the same rule as `users add`. */
export function idOf(subject: string): UserId {
  for (const type of ["int", "objectid", "uuid"] as const) {
    const id = toUserId(type, subject);
    if (id !== undefined) return id;
  }
  return { type: "string", value: subject };
}
