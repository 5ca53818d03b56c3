/** The state of a take-over in the embedded store. Depends on lmdb, the databases and the port. */
import { randomBytes } from "node:crypto";
import type { Database } from "lmdb";
import {
  examplesMax,
  type DayCounts,
  type StoredBreaker,
  type LearnedUser,
  type StoredDifference,
  type StoredLead,
  type TakeoverStore,
  type TallyAddition,
} from "../../takeover/store.js";
import type { StoreFile } from "./databases.js";

const leadKey = "takeoverLead";
const breakerKey = "takeoverBreaker";
const pageUsers = 256;

export class EmbeddedTakeover implements TakeoverStore {
  readonly #file: StoreFile;
  #opened: ReturnType<EmbeddedTakeover["open"]> | undefined;

  constructor(file: StoreFile) {
    this.#file = file;
  }

  lead(): Promise<StoredLead | undefined> {
    return this.#file.read(() => this.#file.meta.get(leadKey) as StoredLead | undefined);
  }

  setLead(lead: StoredLead): Promise<void> {
    return this.#file.write(() => void this.#file.meta.put(leadKey, lead));
  }

  breaker(): Promise<StoredBreaker | undefined> {
    return this.#file.read(() => this.#file.meta.get(breakerKey) as StoredBreaker | undefined);
  }

  setBreaker(breaker: StoredBreaker): Promise<void> {
    return this.#file.write(() => void this.#file.meta.put(breakerKey, breaker));
  }

  findByName(name: string): Promise<LearnedUser | undefined> {
    const { users, names } = this.#databases;
    return this.#file.read(() => {
      const subject = names.get(this.#file.keyOf(name));
      return subject === undefined ? undefined : users.get(this.#file.keyOf(subject));
    });
  }

  findBySubject(subject: string): Promise<LearnedUser | undefined> {
    const { users } = this.#databases;
    return this.#file.read(() => users.get(this.#file.keyOf(subject)));
  }

  findAll(subjects: readonly string[]): Promise<readonly LearnedUser[]> {
    const { users } = this.#databases;
    return this.#file.read(() =>
      subjects.flatMap((subject) => users.get(this.#file.keyOf(subject)) ?? []),
    );
  }

  learn(user: LearnedUser): Promise<boolean> {
    const { users, names } = this.#databases;
    const key = this.#file.keyOf(user.subject);
    return this.#file.write(() => {
      const stored = users.get(key);
      if (stored !== undefined && stored.atMs >= user.atMs) return false;
      this.#dropNames(stored);
      void users.put(key, user);
      for (const name of user.names) void names.put(this.#file.keyOf(name), user.subject);
      return true;
    });
  }

  see(subject: string, day: string): Promise<boolean> {
    const { users } = this.#databases;
    const key = this.#file.keyOf(subject);
    return this.#file.write(() => {
      const stored = users.get(key);
      if (stored === undefined || stored.day >= day) return false;
      void users.put(key, { ...stored, day });
      return true;
    });
  }

  forget(subject: string, atMs: number): Promise<boolean> {
    const { users } = this.#databases;
    const key = this.#file.keyOf(subject);
    return this.#file.write(() => {
      const stored = users.get(key);
      if (stored?.atMs !== atMs) return false;
      this.#dropNames(stored);
      void users.remove(key);
      return true;
    });
  }

  forgetAll(): Promise<number> {
    const { users, names } = this.#databases;
    return this.#file.write(() => {
      const count = users.getCount();
      users.clearSync();
      names.clearSync();
      return count;
    });
  }

  async count(): Promise<{ users: number; hashes: number }> {
    const counts = { users: 0, hashes: 0 };
    for await (const { hash } of this.list()) {
      counts.users++;
      if (hash !== undefined) counts.hashes++;
    }
    return counts;
  }

  async *list(): AsyncIterable<LearnedUser> {
    const { users } = this.#databases;
    let start = Buffer.alloc(1);
    for (;;) {
      const page = await this.#file.read(() =>
        [...users.getRange({ start, limit: pageUsers })].map(({ key, value }) => ({
          key: Buffer.from(key),
          value,
        })),
      );
      for (const { value } of page) yield value;
      const last = page.at(-1);
      if (last === undefined) return;
      start = Buffer.concat([last.key, Buffer.alloc(1)]);
    }
  }

  sampleHashes(size: number): Promise<readonly string[]> {
    const { users } = this.#databases;
    return this.#file.read(() =>
      Array.from({ length: size }).flatMap(() => {
        // The keys are digests, so a random key selects a random entry.
        const [found] = users.getRange({ start: randomBytes(32), limit: 1 });
        return found?.value.hash ?? [];
      }),
    );
  }

  add({ day, counts, differences }: TallyAddition): Promise<void> {
    const { days, kinds } = this.#databases;
    return this.#file.write(() => {
      const dayKey = Buffer.from(day);
      const sums = { ...days.get(dayKey)?.counts };
      for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + count;
      void days.put(dayKey, { day, counts: sums });
      for (const added of differences) {
        const key = this.#file.keyOf(added.kind);
        const stored = kinds.get(key);
        void kinds.put(key, stored ? sumOf(stored, added) : added);
      }
    });
  }

  days(since: string): Promise<readonly DayCounts[]> {
    const { days } = this.#databases;
    return this.#file.read(() =>
      [...days.getRange({ start: Buffer.from(since) })].map(({ value }) => value),
    );
  }

  differences(): Promise<readonly StoredDifference[]> {
    const { kinds } = this.#databases;
    return this.#file.read(() =>
      [...kinds.getRange()].map(({ value }) => value).sort((a, b) => b.count - a.count),
    );
  }

  #dropNames(user: LearnedUser | undefined): void {
    const { names } = this.#databases;
    for (const name of user?.names ?? []) {
      const key = this.#file.keyOf(name);
      if (names.get(key) === user?.subject) void names.remove(key);
    }
  }

  get #databases() {
    return (this.#opened ??= this.open());
  }

  /** Called at first use, because opening creates the databases. */
  private open() {
    return {
      users: this.#file.openDatabase<LearnedUser>("learned"),
      /** Subjects by name. */
      names: this.#file.openDatabase<string>("learned-names"),
      days: this.#file.openDatabase<DayCounts>("takeover-days"),
      kinds: this.#file.openDatabase<StoredDifference>("takeover-differences"),
    } satisfies Record<string, Database<unknown, Buffer>>;
  }
}

function sumOf(stored: StoredDifference, added: StoredDifference): StoredDifference {
  const examples = new Set([...added.examples, ...stored.examples]);
  return {
    kind: stored.kind,
    count: stored.count + added.count,
    firstAtMs: Math.min(stored.firstAtMs, added.firstAtMs),
    lastAtMs: Math.max(stored.lastAtMs, added.lastAtMs),
    examples: [...examples].slice(0, examplesMax),
  };
}
