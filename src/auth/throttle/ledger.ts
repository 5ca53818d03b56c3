/**
 * Changes the throttle's records one after the other: within a process by turns, between processes by
 * compare-and-set, all that is asked for at one time in one write. Depends on store and record.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { emptyRecord, expiryOf, prune, type ThrottleRecord } from "./record.js";
import type { StoreBudget } from "../store-budget.js";
import type { ThrottleStore } from "./store.js";

/** A record as it was seen in the store; a change may start from it without another look. */
export interface Seen {
  readonly version: string | undefined;
  readonly record: ThrottleRecord;
}

/** What a change comes to. It is written if there is a `record`, and retried later with `wait`. */
export type Step<T> = { readonly result: T; readonly record?: ThrottleRecord } | "wait";

export interface Ledger {
  /** The records of these keys, in one round trip. */
  read(keys: readonly string[]): Promise<Seen[]>;
  /**
   * Settles once what `change` made of the newest record is written, and with what it is now. A step
   * without a record is decided on one read after the call. A call whose signal aborts is dropped
   * while it waits; one that was begun is finished.
   *
   * @param change may be called several times; pure.
   * @param budget is paused while the change waits for places.
   * @throws AuthError `store_unavailable`; then it may have been written all the same.
   * @throws the signal's reason.
   */
  change<T>(
    key: string,
    seen: Seen | undefined,
    change: (record: ThrottleRecord, nowMs: number) => Step<T>,
    signal?: AbortSignal,
    budget?: StoreBudget,
  ): Promise<{ readonly result: T; readonly seen: Seen }>;
}

interface Task {
  readonly change: (record: ThrottleRecord, nowMs: number) => Step<unknown>;
  readonly resolve: (value: { result: never; seen: Seen }) => void;
  readonly reject: (reason: unknown) => void;
  readonly signal: AbortSignal | undefined;
  /** Paused while the task waits for places. */
  readonly budget: StoreBudget | undefined;
}

/** How often those who wait for places look whether other processes have given some back. */
const pollMs = 100;
const backoffMaxMs = 50;

export function createLedger(options: {
  readonly store: ThrottleStore;
  readonly windowMs: number;
  readonly clock: { now(): number };
}): Ledger {
  const { store, windowMs, clock } = options;
  const desks = new Map<string, Desk>();

  async function read(keys: readonly string[]): Promise<Seen[]> {
    const found = await store.read(keys);
    return found.map((stored) => ({
      version: stored?.version,
      record: stored ? (JSON.parse(stored.document) as ThrottleRecord) : emptyRecord,
    }));
  }

  async function write(key: string, { version, record }: Seen): Promise<Seen | undefined> {
    const written = await store.write(key, version, {
      document: JSON.stringify(record),
      expiresAtMs: expiryOf(record, windowMs),
      isDisposable: Object.keys(record.known).length === 0,
    });
    return written === undefined ? undefined : { version: written, record };
  }

  /** Where the changes of one record queue up. */
  class Desk {
    readonly #key: string;
    #seen: Seen | undefined;
    #tasks: Task[] = [];
    #waiting: Task[] = [];
    #isBusy = false;
    #poll: NodeJS.Timeout | undefined;

    constructor(key: string, seen: Seen | undefined) {
      this.#key = key;
      this.#seen = seen;
    }

    add(task: Task): void {
      this.#tasks.push(task);
      void this.#work();
    }

    /** Ends a wait. What has been begun goes on. */
    abort(task: Task): void {
      const index = this.#waiting.indexOf(task);
      if (index === -1) return;
      this.#waiting.splice(index, 1);
      task.reject(task.signal?.reason);
      this.#closeIfIdle();
    }

    #wait(task: Task): void {
      if (task.signal?.aborted) task.reject(task.signal.reason);
      else {
        task.budget?.pause();
        this.#waiting.push(task);
      }
    }

    #endWaits(): Task[] {
      const tasks = this.#waiting.splice(0);
      for (const { budget } of tasks) budget?.resume();
      return tasks;
    }

    async #work(): Promise<void> {
      if (this.#isBusy) return;
      this.#isBusy = true;
      clearTimeout(this.#poll);
      while (this.#tasks.length > 0) {
        const batch = this.#tasks.splice(0);
        try {
          if (await this.#settle(batch)) this.#tasks.push(...this.#endWaits());
        } catch (error) {
          this.#seen = undefined;
          for (const { reject } of [...batch, ...this.#waiting.splice(0)]) reject(error);
        }
      }
      this.#isBusy = false;
      this.#closeIfIdle();
      if (this.#waiting.length > 0) this.#poll = setTimeout(() => this.#look(), pollMs);
    }

    #look(): void {
      this.#seen = undefined;
      this.#tasks.push(...this.#endWaits());
      void this.#work();
    }

    /** Applies all of the batch. True if the record has changed. */
    async #settle(batch: readonly Task[]): Promise<boolean> {
      let isFresh = false;
      for (let attempt = 0; ; attempt++) {
        if (this.#seen === undefined) {
          [this.#seen] = await read([this.#key]);
          isFresh = true;
        }
        const seen = this.#seen ?? { version: undefined, record: emptyRecord };
        const nowMs = clock.now();
        let record = prune(seen.record, nowMs, windowMs);
        const steps = batch.map((task) => {
          const step = task.change(record, nowMs);
          const change = step === "wait" ? undefined : step.record;
          record = change ?? record;
          return { task, step, isWritten: change !== undefined };
        });
        const isChanged = steps.some(({ isWritten }) => isWritten);
        if (!isFresh && steps.some(({ isWritten }) => !isWritten)) {
          this.#seen = undefined;
          continue;
        }
        if (isChanged) {
          this.#seen = await write(this.#key, { version: seen.version, record });
          if (this.#seen === undefined) {
            await sleep(Math.random() * Math.min(2 ** attempt, backoffMaxMs));
            continue;
          }
        }
        for (const { task, step } of steps) {
          if (step === "wait") this.#wait(task);
          else task.resolve({ result: step.result as never, seen: this.#seen ?? seen });
        }
        return isChanged;
      }
    }

    #closeIfIdle(): void {
      if (this.#isBusy || this.#waiting.length > 0) return;
      clearTimeout(this.#poll);
      desks.delete(this.#key);
    }
  }

  return {
    read,
    async change(key, seen, change, signal, budget) {
      signal?.throwIfAborted();
      const desk = desks.get(key) ?? new Desk(key, seen);
      desks.set(key, desk);
      let onAbort: (() => void) | undefined;
      try {
        return await new Promise((resolve, reject) => {
          const task = { change, resolve, reject, signal, budget };
          onAbort = () => desk.abort(task);
          signal?.addEventListener("abort", onAbort);
          desk.add(task);
        });
      } finally {
        if (onAbort) signal?.removeEventListener("abort", onAbort);
      }
    },
  };
}
