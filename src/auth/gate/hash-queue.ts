/**
 * Bounds how many password hashes run and how many callers wait for one. Client networks take
 * turns, so that one cannot take all places. Depends on errors.
 */
import { AuthError } from "../errors.js";

export interface HashQueueOptions {
  /** The most hashes that run at once, at least 1. Called whenever one may start. */
  readonly concurrency: () => number;
  /** The most callers that have entered and whose hash has not begun. */
  readonly waitingMax: number;
  /** Milliseconds; never goes back. */
  readonly now: () => number;
}

/** A caller's place in the queue. It must be left in every case. */
export interface HashPlace {
  /** Aborts when the caller is gone, or with `overloaded` when another network gets the place. */
  readonly signal: AbortSignal;
  /**
   * Runs `work` when the place has its turn; the networks take turns.
   *
   * @throws the reason of `signal` if that aborts before; `work` then never begins.
   */
  run<T>(work: () => Promise<T>): Promise<T>;
  leave(): void;
}

/** The assumed time of a hash until some have been measured. */
const firstHashMs = 50;
const retryAfterSecondsMax = 60;

export class HashQueue {
  readonly #options: HashQueueOptions;
  /** The waiting places by network. The map's order is that of the networks' turns. */
  readonly #waiting = new Map<string, Place[]>();
  #waitingCount = 0;
  #running = 0;
  #averageMs = firstHashMs;

  constructor(options: HashQueueOptions) {
    this.#options = options;
  }

  /**
   * Takes a place for one hash, before anything else is done for the caller. In a full queue the
   * network with the most places gives up its newest one to a network that has at least two fewer.
   *
   * @throws AuthError `overloaded` at once, if no place can be freed.
   * @throws the signal's reason if the caller is gone already.
   */
  enter(network: string, signal: AbortSignal | undefined): HashPlace {
    signal?.throwIfAborted();
    this.#makeRoom(network);
    const place = new Place(this, network, signal);
    const places = this.#waiting.get(network);
    if (places === undefined) this.#waiting.set(network, [place]);
    else places.push(place);
    this.#waitingCount++;
    return place;
  }

  /** How many hashes run and how many callers wait. */
  depth(): { readonly running: number; readonly waiting: number } {
    return { running: this.#running, waiting: this.#waitingCount };
  }

  /** Starts the hashes that may run. Only for `Place`, as are `measure` and `remove`. */
  advance(): void {
    while (this.#running < this.#options.concurrency()) {
      const place = this.#nextReady();
      if (place === undefined) return;
      const places = this.#waiting.get(place.network) ?? [];
      this.#waiting.delete(place.network);
      this.#waiting.set(place.network, places);
      this.remove(place);
      this.#running++;
      place.begin();
    }
  }

  async measure<T>(work: () => Promise<T>): Promise<T> {
    const startMs = this.#options.now();
    try {
      return await work();
    } finally {
      this.#averageMs += (this.#options.now() - startMs - this.#averageMs) / 8;
      this.#running--;
      this.advance();
    }
  }

  remove(place: Place): void {
    const places = this.#waiting.get(place.network) ?? [];
    const index = places.indexOf(place);
    if (index === -1) return;
    places.splice(index, 1);
    this.#waitingCount--;
    if (places.length === 0) this.#waiting.delete(place.network);
  }

  #nextReady(): Place | undefined {
    for (const places of this.#waiting.values()) {
      const place = places.find(({ isReady }) => isReady);
      if (place !== undefined) return place;
    }
    return undefined;
  }

  /** Makes room for one more place of this network. @throws AuthError `overloaded` if it cannot. */
  #makeRoom(network: string): void {
    if (this.#waitingCount < this.#options.waitingMax) return;
    const own = this.#waiting.get(network)?.length ?? 0;
    const [largest = []] = [...this.#waiting.values()].sort((a, b) => b.length - a.length);
    if (largest.length <= own + 1) throw this.#overloaded();
    largest.at(-1)?.giveUp(this.#overloaded());
  }

  #overloaded(): AuthError {
    const { concurrency } = this.#options;
    const seconds = Math.ceil((this.#waitingCount * this.#averageMs) / concurrency() / 1000);
    const retryAfterSeconds = Math.min(Math.max(seconds, 1), retryAfterSecondsMax);
    return new AuthError("overloaded", "the hash queue is full", { retryAfterSeconds });
  }
}

class Place implements HashPlace {
  readonly network: string;
  readonly #queue: HashQueue;
  readonly #controller = new AbortController();
  readonly #callerSignal: AbortSignal | undefined;
  readonly #onCallerAbort = () => this.#controller.abort(this.#callerSignal?.reason);
  #begin: (() => void) | undefined;

  constructor(queue: HashQueue, network: string, callerSignal: AbortSignal | undefined) {
    this.#queue = queue;
    this.network = network;
    this.#callerSignal = callerSignal;
    callerSignal?.addEventListener("abort", this.#onCallerAbort, { once: true });
    this.signal.addEventListener("abort", () => queue.remove(this), { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get isReady(): boolean {
    return this.#begin !== undefined;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    await this.#turn();
    return this.#queue.measure(work);
  }

  #turn(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.signal.throwIfAborted();
      this.signal.addEventListener("abort", () => reject(this.signal.reason as Error), {
        once: true,
      });
      this.#begin = resolve;
      this.#queue.advance();
    });
  }

  begin(): void {
    this.#begin?.();
  }

  giveUp(reason: AuthError): void {
    this.#controller.abort(reason);
  }

  leave(): void {
    this.#callerSignal?.removeEventListener("abort", this.#onCallerAbort);
    this.#queue.remove(this);
  }
}
