/**
 * Changes the throttle's records one after the other: within a process by turns, between processes
 * by compare-and-set. Changes that are asked for at the same time share one write. Depends on its
 * neighbours and auth.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { StoreBudget } from "../store-budget.js";
import { emptyRecord, expiryOf, prune, type ThrottleRecord } from "./record.js";
import type { ThrottleStore } from "./store.js";
import { formatRecord, parseRecord } from "./stored-record.js";

/** A record as it was seen in the store. A change may start from it without another read. */
export interface Seen {
  readonly version: string | undefined;
  readonly record: ThrottleRecord;
}

/** The result of a change: written if it has a `record`; `wait` if it must be tried again later. */
export type Step<T> = { readonly result: T; readonly record?: ThrottleRecord } | "wait";

/** Pure; may be called several times. */
export type Change<T> = (record: ThrottleRecord, nowMs: number) => Step<T>;

export interface ChangeOptions {
  /** The record to start from. */
  readonly seen?: Seen | undefined;
  /** Drops the change while it waits for places; a change that has begun is finished. */
  readonly signal?: AbortSignal | undefined;
  /** Paused while the change waits for places. */
  readonly budget?: StoreBudget | undefined;
}

interface LedgerOptions {
  readonly store: ThrottleStore;
  readonly windowMs: number;
  readonly clock: { now(): number };
}

export class Ledger {
  readonly #options: LedgerOptions;
  readonly #queues = new Map<string, RecordQueue>();

  constructor(options: LedgerOptions) {
    this.#options = options;
  }

  /** The records of these keys, in one round trip. */
  async read(keys: readonly string[]): Promise<Seen[]> {
    const found = await this.#options.store.read(keys);
    return found.map((stored) => ({
      version: stored?.version,
      record: stored ? parseRecord(stored.document) : emptyRecord,
    }));
  }

  /**
   * Resolves once the result of `change` on the newest record is written. `seen` is the record
   * after it. A step without a record counts only if its read began after this call.
   *
   * @throws AuthError `store_unavailable`; the change may be written all the same.
   * @throws the signal's reason.
   */
  async change<T>(
    key: string,
    change: Change<T>,
    { seen, signal, budget }: ChangeOptions = {},
  ): Promise<{ readonly result: T; readonly seen: Seen }> {
    signal?.throwIfAborted();
    const queue = this.#queues.get(key) ?? this.#open(key, seen);
    let onAbort: (() => void) | undefined;
    try {
      return await new Promise((resolve, reject) => {
        const task = { change, resolve, reject, signal, budget };
        onAbort = () => queue.abort(task);
        signal?.addEventListener("abort", onAbort);
        queue.add(task);
      });
    } finally {
      if (onAbort) signal?.removeEventListener("abort", onAbort);
    }
  }

  #open(key: string, seen: Seen | undefined): RecordQueue {
    const { windowMs, clock } = this.#options;
    const queue = new RecordQueue({
      read: async () => (await this.read([key]))[0] ?? { version: undefined, record: emptyRecord },
      write: (record, version) => this.#write(key, record, version),
      prune: (record, nowMs) => prune(record, nowMs, windowMs),
      now: () => clock.now(),
      onIdle: () => this.#queues.delete(key),
      seen,
    });
    this.#queues.set(key, queue);
    return queue;
  }

  async #write(
    key: string,
    record: ThrottleRecord,
    version: string | undefined,
  ): Promise<Seen | undefined> {
    const written = await this.#options.store.write(key, version, {
      document: formatRecord(record),
      expiresAtMs: expiryOf(record, this.#options.windowMs),
      isDisposable: Object.keys(record.trusted).length === 0,
    });
    return written === undefined ? undefined : { version: written, record };
  }
}

/** Milliseconds between two looks for places that other processes have given back. */
const pollMs = 100;
const backoffMaxMs = 50;

interface Task {
  readonly change: Change<unknown>;
  readonly resolve: (value: { result: never; seen: Seen }) => void;
  readonly reject: (reason: unknown) => void;
  readonly signal: AbortSignal | undefined;
  readonly budget: StoreBudget | undefined;
}

interface QueueOptions {
  readonly read: () => Promise<Seen>;
  /** Undefined if another process wrote first. */
  readonly write: (
    record: ThrottleRecord,
    version: string | undefined,
  ) => Promise<Seen | undefined>;
  readonly prune: (record: ThrottleRecord, nowMs: number) => ThrottleRecord;
  readonly now: () => number;
  readonly onIdle: () => void;
  readonly seen: Seen | undefined;
}

/** The changes of one record, in the order of the calls. */
class RecordQueue {
  readonly #options: QueueOptions;
  #seen: Seen | undefined;
  #tasks: Task[] = [];
  #waiting: Task[] = [];
  #isBusy = false;
  #poll: NodeJS.Timeout | undefined;

  constructor(options: QueueOptions) {
    this.#options = options;
    this.#seen = options.seen;
  }

  add(task: Task): void {
    this.#tasks.push(task);
    void this.#work();
  }

  /** Drops a change that waits; one that has begun goes on. */
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
    if (this.#waiting.length > 0) this.#poll = setTimeout(() => this.#look(), pollMs).unref();
  }

  #look(): void {
    this.#seen = undefined;
    this.#tasks.push(...this.#endWaits());
    void this.#work();
  }

  /** Applies the whole batch. True if the record has changed. */
  async #settle(batch: readonly Task[]): Promise<boolean> {
    let isFresh = false;
    for (let attempt = 0; ; attempt++) {
      if (this.#seen === undefined) {
        this.#seen = await this.#options.read();
        isFresh = true;
      }
      const seen = this.#seen;
      const { record, steps } = this.#apply(batch, seen.record);
      const isChanged = steps.some(({ isWritten }) => isWritten);
      if (!isFresh && steps.some(({ isWritten }) => !isWritten)) {
        this.#seen = undefined;
        continue;
      }
      if (isChanged) {
        this.#seen = await this.#options.write(record, seen.version);
        if (this.#seen === undefined) {
          await sleep(Math.random() * Math.min(2 ** attempt, backoffMaxMs));
          continue;
        }
      }
      for (const { task, step } of steps) {
        if (step === "wait") this.#wait(task);
        else task.resolve({ result: step.result as never, seen: this.#seen });
      }
      return isChanged;
    }
  }

  #apply(batch: readonly Task[], seen: ThrottleRecord) {
    const nowMs = this.#options.now();
    let record = this.#options.prune(seen, nowMs);
    const steps = batch.map((task) => {
      const step = task.change(record, nowMs);
      const change = step === "wait" ? undefined : step.record;
      record = change ?? record;
      return { task, step, isWritten: change !== undefined };
    });
    return { record, steps };
  }

  #closeIfIdle(): void {
    if (this.#isBusy || this.#waiting.length > 0) return;
    clearTimeout(this.#poll);
    this.#options.onIdle();
  }
}
