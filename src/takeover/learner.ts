/** Stores the old server's verdicts on passwords. Depends on auth's passwords and users, and its neighbours. */
import { inspectHash } from "../auth/passwords/passwords.js";
import type { UsernameKey } from "../auth/usernames.js";
import type { User } from "../auth/users.js";
import { namesMax, type LearnedUser, type TakeoverStore } from "./store.js";
import { dayOf, type Tally } from "./tally.js";

export interface LearnerOptions {
  readonly store: TakeoverStore;
  /** Undefined with `UPSTREAM_LEARN=off`. */
  readonly hash: ((password: string) => Promise<string>) | undefined;
  readonly usernameKey: UsernameKey;
  /** The host of the old server. */
  readonly from: string;
  /** `UPSTREAM_RECHECK` in milliseconds; 0 for never. */
  readonly recheckMs: number;
  readonly tally: Tally;
  readonly now: () => number;
  readonly onLearnt: (subject: string) => void;
  readonly onError: (error: unknown) => void;
}

/** A login that the old server has accepted. */
export interface Yes {
  readonly subject: string;
  readonly username: string;
  readonly password: string;
  /** When the old server was asked, in milliseconds since 1970. */
  readonly atMs: number;
  /** The user of that name as known before, and what had been learnt of him. */
  readonly user: User | undefined;
  readonly record: LearnedUser | undefined;
  /** Whether the password fits the known hash; undefined if that was not checked. */
  readonly matches: boolean | undefined;
}

const usualRecheckMs = 86_400_000;

export class Learner {
  readonly #options: LearnerOptions;

  constructor(options: LearnerOptions) {
    this.#options = options;
  }

  /** Whether the old server's last yes is recent enough that a login need not ask it again. */
  isFresh(record: LearnedUser | undefined): boolean {
    const { recheckMs, now } = this.#options;
    if (recheckMs === 0) return true;
    return record !== undefined && now() < record.atMs + recheckMs;
  }

  /** Whether the last yes is so recent that another one need not be stored. */
  isRecent(record: LearnedUser | undefined): boolean {
    const { recheckMs, now } = this.#options;
    if (record?.hash === undefined && !record?.ownHashCounts) return false;
    return now() < record.atMs + (recheckMs || usualRecheckMs) / 2;
  }

  /** Stores a yes. Never rejects: the login has succeeded, whether or not it can be stored. */
  async hearYes(yes: Yes): Promise<void> {
    const { onError } = this.#options;
    await this.#learn(yes).catch(onError);
  }

  /** Stores a no to a password that fits the known hash: from now on that hash does not count. */
  async hearNo({ id, username }: User, record: LearnedUser | undefined, atMs: number) {
    const { store, usernameKey, from, now, onError } = this.#options;
    const names = record?.names ?? [usernameKey(username)];
    const no = { subject: id.value, username, names, hash: undefined, atMs };
    await store
      .learn({ ...no, ownHashCounts: false, from, day: record?.day ?? dayOf(now()) })
      .catch(onError);
  }

  /** Stores the day of a login that was answered without asking the old server. Returns at once. */
  seen(record: LearnedUser | undefined): void {
    const { store, tally, now } = this.#options;
    const day = dayOf(now());
    if (record === undefined || record.day >= day) return;
    store.see(record.subject, day).then(
      (isFirst) => isFirst && tally.count("known"),
      // The next login counts it.
      () => undefined,
    );
  }

  async #learn({ subject, username, password, atMs, user, record, matches }: Yes): Promise<void> {
    const { store, usernameKey, from, now, tally, hash, onLearnt } = this.#options;
    const day = dayOf(now());
    const name = usernameKey(username);
    const isSame = record?.subject === subject;
    const wasKnown = user?.id.value === subject && isUsable(user.passwordHash);
    const known = isSame ? record : await store.findBySubject(subject);
    const fits = wasKnown && matches === true;
    const isNew = !fits && hash !== undefined;
    const names = [name, ...(known?.names ?? []).filter((each) => each !== name)];
    const wrote = await store.learn({
      ...{ subject, username, atMs, from, day },
      names: names.slice(0, namesMax),
      hash: isNew ? await hash(password) : fits ? known?.hash : undefined,
      ownHashCounts: fits && known?.hash === undefined,
    });
    if (!wrote) return;
    if (isNew) onLearnt(subject);
    if (known?.day !== day) tally.count(wasKnown ? "known" : "first");
  }
}

const isUsable = (hash: string | undefined) =>
  hash !== undefined && inspectHash(hash).verdict === "ok";
