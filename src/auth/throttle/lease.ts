/**
 * The lease of this process: how many passwords of one username and network it may check at a time
 * without taking places first. All leases together are bounded. Depends on node:crypto and the
 * store's port.
 */
import { randomUUID } from "node:crypto";
import type { ThrottleStore } from "./store.js";

export interface LeaseOptions {
  readonly store: ThrottleStore;
  /** The most for all processes together. */
  readonly max: number;
  /** The most that this process can use. */
  readonly wanted: number;
  readonly clock: { now(): number };
}

/** The document's key. It holds one entry for each check of a lease, as earlier versions expect. */
const key = "seats";
const renewMs = 20_000;
const leaseMs = 60_000;
/** Milliseconds allowed for differences between clocks and for the time of an answer. */
const marginMs = 5000;
/**
 * A check without places that takes longer than this has to take them before its outcome is told.
 */
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

  /** The lease of a check that begins now; 0 if the lease might end before the check. */
  count(): number {
    return this.#options.clock.now() + checkMaxMs + marginMs < this.#endMs ? this.#count : 0;
  }

  /**
   * Takes the lease and renews it until `close`. If the store is down, it tries again. Never
   * throws.
   */
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
      // Checks that have begun still use what is given back, so it goes with the next renewal.
      const held = Math.max(share, inUse);
      return held === 0 ? [waits] : Array.from({ length: held }, (_, i) => String(i));
    };
    try {
      await this.#write(names);
      this.#count = share;
      this.#endMs = startMs + leaseMs;
    } catch {
      // Without its lease a process only writes more.
    }
  }

  #shareBeside(others: readonly string[]): number {
    const { max, wanted } = this.#options;
    const processes = new Set(others.map((name) => name.split(".", 1)[0])).size + 1;
    const taken = others.filter((name) => !name.endsWith(`.${waits}`)).length;
    return Math.max(0, Math.min(wanted, Math.max(1, Math.floor(max / processes)), max - taken));
  }

  /** Replaces this process's entries by those that `names` makes from the entries of the others. */
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

/** Marks the entry of a process for which no lease was left. */
const waits = "waits";
