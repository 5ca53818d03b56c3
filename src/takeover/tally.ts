/**
 * Counts for `takeover status`: per day, and by kind of difference. Keeps the counts in memory for a second, then
 * adds them to those in the store. Depends on the port.
 */
import { examplesMax, type StoredDifference, type TakeoverStore } from "./store.js";

/** The counters of a day. */
export type CountName =
  /** Logins that the old server answered, that Latchkey answered, and that it answered after asking the old server. */
  | "by_old"
  | "by_own"
  | "by_question"
  /** Users who logged in: those known before, and those not. */
  | "known"
  | "first"
  /** Answers that were compared. */
  | "compared";

const flushMs = 1000;

export class Tally {
  readonly #store: Pick<TakeoverStore, "add">;
  readonly #now: () => number;
  #counts: Record<string, number> = {};
  #differences = new Map<string, StoredDifference>();
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<void> = Promise.resolve();

  constructor(store: Pick<TakeoverStore, "add">, now: () => number) {
    this.#store = store;
    this.#now = now;
  }

  count(name: CountName): void {
    this.#counts[name] = (this.#counts[name] ?? 0) + 1;
    this.#schedule();
  }

  /** Counts a difference. @param user the user's `_id`, if known */
  differ(kind: string, user: string | undefined): void {
    const atMs = this.#now();
    const { count = 0, firstAtMs = atMs, examples = [] } = this.#differences.get(kind) ?? {};
    const others = examples.filter((each) => each !== user);
    this.#differences.set(kind, {
      ...{ kind, count: count + 1, firstAtMs, lastAtMs: atMs },
      examples: (user === undefined ? others : [user, ...others]).slice(0, examplesMax),
    });
    this.#schedule();
  }

  /** Adds the counts to the store. If that fails, they are kept for the next time. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    return (this.#flushing = this.#flushing.then(() => this.#write()));
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => void this.flush(), flushMs).unref();
  }

  async #write(): Promise<void> {
    const counts = this.#counts;
    const differences = [...this.#differences.values()];
    if (Object.keys(counts).length === 0 && differences.length === 0) return;
    this.#counts = {};
    this.#differences = new Map();
    try {
      await this.#store.add({ day: dayOf(this.#now()), counts, differences });
    } catch {
      // They may have been written nevertheless; then they are counted twice.
      for (const [name, count] of Object.entries(counts)) {
        this.#counts[name] = (this.#counts[name] ?? 0) + count;
      }
      for (const each of differences) {
        const newer = this.#differences.get(each.kind);
        const count = each.count + (newer?.count ?? 0);
        const lastAtMs = newer?.lastAtMs ?? each.lastAtMs;
        this.#differences.set(each.kind, { ...each, count, lastAtMs });
      }
    }
  }
}

/** The day of an instant in UTC, such as `2026-11-28`. */
export const dayOf = (timeMs: number) => new Date(timeMs).toISOString().slice(0, 10);
