/**
 * A user store that also records whose tokens end: users who are revoked, disabled, removed or
 * given another password through it, and users whom it finds disabled or removed by others. Depends
 * on auth's ports and its neighbour.
 */
import { AuthError } from "../auth/errors.js";
import type {
  Account,
  ImportConflict,
  ImportOutcome,
  User,
  UserChange,
  UserId,
  UserRecord,
  UserStore,
  UserToImport,
} from "../auth/users.js";
import type { RevocationStore } from "./store.js";

export interface RecordingOptions {
  readonly users: UserStore;
  readonly revocations: RevocationStore;
  /** Seconds for which a revocation is kept: as long as a token may be accepted. */
  readonly keepSeconds: number;
  readonly now: () => number;
}

/** How many users found disabled or removed are remembered, so that each is recorded once. */
const noticedMax = 10_000;

export class RecordingUsers implements UserStore {
  readonly #users: UserStore;
  readonly #revocations: RevocationStore;
  readonly #keepMs: number;
  readonly #now: () => number;
  /** When each subject was noticed, in milliseconds since the epoch. */
  readonly #noticed = new Map<string, number>();

  constructor({ users, revocations, keepSeconds, now }: RecordingOptions) {
    this.#users = users;
    this.#revocations = revocations;
    this.#keepMs = keepSeconds * 1000;
    this.#now = now;
  }

  async findByUsername(username: string): Promise<User | undefined> {
    const user = await this.#users.findByUsername(username);
    if (user?.disabled) this.#notice(user.id.value);
    return user;
  }

  async findBySubject(subject: string): Promise<Account | undefined> {
    const account = await this.#users.findBySubject(subject);
    // Only subjects of tokens that we issued are looked up, so an unknown one was removed.
    if (account === undefined || account.disabled) this.#notice(subject);
    return account;
  }

  async import(
    users: readonly UserToImport[],
    options: { onConflict: ImportConflict; replacedAt: Date; dryRun: boolean },
  ): Promise<ImportOutcome[]> {
    const outcomes = await this.#users.import(users, options);
    if (options.dryRun) return outcomes;
    for (const [index, outcome] of outcomes.entries()) {
      const id = users[index]?.id;
      if (outcome === "replaced" && id) await this.#tell(id.value, options.replacedAt.getTime());
    }
    return outcomes;
  }

  async update(id: UserId, change: UserChange): Promise<boolean> {
    const isFound = await this.#users.update(id, change);
    if (isFound && (change.disabled || change.tokensValidAfter)) {
      await this.#tell(id.value, change.tokensValidAfter?.getTime());
    }
    return isFound;
  }

  async remove(id: UserId): Promise<boolean> {
    const isFound = await this.#users.remove(id);
    if (isFound) await this.#tell(id.value);
    return isFound;
  }

  add(user: User) {
    return this.#users.add(user);
  }

  replacePasswordHash(id: UserId, oldHash: string | undefined, newHash: string): Promise<boolean> {
    return this.#users.replacePasswordHash(id, oldHash, newHash);
  }

  existing(ids: readonly UserId[]): Promise<readonly UserId[]> {
    return this.#users.existing(ids);
  }

  sampleHashes(size: number): Promise<readonly string[]> {
    return this.#users.sampleHashes(size);
  }

  list(): AsyncIterable<User> {
    return this.#users.list();
  }

  records(): AsyncIterable<UserRecord> {
    return this.#users.records();
  }

  /** Records what a stored change revokes. @throws AuthError that says that the change is stored */
  async #tell(subject: string, atMs?: number): Promise<void> {
    try {
      await this.#record(subject, atMs);
    } catch (error) {
      const { code, message, cause } = AuthError.from(error);
      const said = "the change is stored, but services may not hear of the revocation";
      throw new AuthError(code, `${said}; run the command again: ${message}`, { cause });
    }
  }

  #record(subject: string, atMs = this.#now()): Promise<void> {
    return this.#revocations.add({ subject, atMs }, atMs + this.#keepMs);
  }

  /**
   * Records a user found disabled or removed, once in a token's lifetime. Callers do not wait for
   * it.
   */
  #notice(subject: string): void {
    const now = this.#now();
    const before = this.#noticed.get(subject);
    if (before !== undefined && now < before + this.#keepMs) return;
    if (this.#noticed.size >= noticedMax) this.#noticed.clear();
    this.#noticed.set(subject, now);
    // The next login or renewal notices the user again.
    this.#record(subject, now).catch(() => this.#noticed.delete(subject));
  }
}
