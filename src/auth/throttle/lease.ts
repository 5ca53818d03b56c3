/**
 * How many passwords of one name and network this process may check at a time without taking places first;
 * all processes together have a bounded number. Depends on node:crypto and the store's port.
 */
import { randomUUID } from "node:crypto";
import type { ThrottleStore } from "./store.js";

export interface LeaseOptions {
  readonly store: ThrottleStore;
  /** All processes together. */
  readonly max: number;
  /** Most that this process has a use for. */
  readonly wanted: number;
  readonly clock: { now(): number };
}

/** By this key, and in the form of one entry each, earlier versions find theirs too. */
const key = "seats";
const renewMs = 20_000;
const leaseMs = 60_000;
/** What clocks may differ by, and an answer take. */
const marginMs = 5000;
/** A check without places that takes longer than this has to take them before its outcome is told. */
export const checkMaxMs = renewMs;

export class Lease {
  readonly #options: LeaseOptions;
  readonly #id = randomUUID();
  #count = 0;
  #endMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LeaseOptions) {
    this.#options = options;
  }

  /** For a check that begins now: 0 without a lease that outlasts it. */
  count(): number {
    return this.#options.clock.now() + checkMaxMs + marginMs < this.#endMs ? this.#count : 0;
  }

  /** Takes the lease and keeps it until `close`; where there is no store, tries again. Never throws. */
  async open(): Promise<void> {
    this.#timer ??= setInterval(() => void this.#renew(), renewMs).unref();
    await this.#renew();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#count = 0;
    await this.#write(() => []).catch(() => undefined);
  }

  async #renew(): Promise<void> {
    const startMs = this.#options.clock.now();
    const inUse = startMs < this.#endMs ? this.#count : 0;
    let share = 0;
    const names = (others: readonly string[]) => {
      share = this.#shareBeside(others);
      // Checks that have begun use what is given back: it goes with the next renewal.
      const held = Math.max(share, inUse);
      return held === 0 ? [waits] : Array.from({ length: held }, (_, i) => String(i));
    };
    try {
      await this.#write(names);
      this.#count = share;
      this.#endMs = startMs + leaseMs;
    } catch {
      // Without its lease a process does more writes, no more than that.
    }
  }

  #shareBeside(others: readonly string[]): number {
    const { max, wanted } = this.#options;
    const processes = new Set(others.map((name) => name.split(".", 1)[0])).size + 1;
    const taken = others.filter((name) => !name.endsWith(`.${waits}`)).length;
    return Math.max(0, Math.min(wanted, Math.max(1, Math.floor(max / processes)), max - taken));
  }

  /** Writes, in place of this process's entries, those that `names` makes of the others'. */
  async #write(names: (others: readonly string[]) => readonly string[]): Promise<void> {
    const { store, clock } = this.#options;
    for (;;) {
      const [stored] = await store.read([key]);
      const nowMs = clock.now();
      const entries = Object.entries(
        JSON.parse(stored?.document ?? "{}") as Record<string, number>,
      ).filter(([name, endMs]) => endMs > nowMs && !name.startsWith(this.#id));
      const own = names(entries.map(([name]) => name));
      const endMs = nowMs + leaseMs;
      const all = [...entries, ...own.map((name) => [`${this.#id}.${name}`, endMs] as const)];
      const document = JSON.stringify(Object.fromEntries(all));
      const lifetime = { expiresAtMs: endMs, isDisposable: false };
      if (await store.write(key, stored?.version, { document, ...lifetime })) return;
    }
  }
}

/** Marks the entry of a process that has found nothing left. */
const waits = "waits";
