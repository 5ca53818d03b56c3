/**
 * Bounds how many password hashes run and how many callers wait for one, fairly between client
 * networks: one must not take what all need. Depends on errors.
 */
import { AuthError } from "../errors.js";

export interface HashQueueOptions {
  /** Most hashes that run at once, at least 1; read whenever one may start. */
  readonly concurrency: () => number;
  /** Most callers that have entered and whose hash has not begun. */
  readonly waitingMax: number;
  /** Milliseconds that only go forward. */
  readonly now: () => number;
}

export interface HashQueue {
  /**
   * Takes a place for one hash, before anything else is done for the caller. In a full queue a
   * network gives up its newest place to one that has fewer.
   *
   * @throws AuthError `overloaded`, at once, where no place is left.
   * @throws the signal's reason where the caller is gone already.
   */
  enter(network: string, signal: AbortSignal | undefined): HashPlace;
  /** How many run and how many wait. */
  depth(): { readonly running: number; readonly waiting: number };
}

/** A place in the queue: to be left whatever happens. */
export interface HashPlace {
  /** Aborts when the caller goes, or with an `overloaded` when the place is given to another. */
  readonly signal: AbortSignal;
  /**
   * Runs `work` when its turn comes, the networks taking turns.
   *
   * @param familyOf the family of the hash, for those who trace it.
   * @throws the reason of `signal` if that aborts before: then `work` is never begun.
   */
  run<T>(work: () => Promise<T>, familyOf?: () => string | undefined): Promise<T>;
  leave(): void;
}

/** What is assumed of a hash until some have been measured. */
const firstHashMs = 50;
const retryAfterSecondsMax = 60;

export function createHashQueue(options: HashQueueOptions): HashQueue {
  /** The places that wait, by network, in the order in which the networks have their turn. */
  const waiting = new Map<string, Place[]>();
  let waitingCount = 0;
  let running = 0;
  let averageMs = firstHashMs;

  class Place implements HashPlace {
    readonly network: string;
    readonly #controller = new AbortController();
    readonly #callerSignal: AbortSignal | undefined;
    readonly #onCallerAbort = () => this.#controller.abort(this.#callerSignal?.reason);
    #begin: (() => void) | undefined;

    constructor(network: string, callerSignal: AbortSignal | undefined) {
      this.network = network;
      this.#callerSignal = callerSignal;
      callerSignal?.addEventListener("abort", this.#onCallerAbort, { once: true });
      this.signal.addEventListener("abort", () => remove(this), { once: true });
    }

    get signal(): AbortSignal {
      return this.#controller.signal;
    }

    get isReady(): boolean {
      return this.#begin !== undefined;
    }

    async run<T>(work: () => Promise<T>): Promise<T> {
      await this.#turn();
      const start = options.now();
      try {
        return await work();
      } finally {
        averageMs += (options.now() - start - averageMs) / 8;
        running--;
        advance();
      }
    }

    #turn(): Promise<void> {
      return new Promise((resolve, reject) => {
        this.signal.throwIfAborted();
        this.signal.addEventListener("abort", () => reject(this.signal.reason as Error), {
          once: true,
        });
        this.#begin = resolve;
        advance();
      });
    }

    begin(): void {
      remove(this);
      running++;
      this.#begin?.();
    }

    giveUp(): void {
      this.#controller.abort(overloaded());
    }

    leave(): void {
      this.#callerSignal?.removeEventListener("abort", this.#onCallerAbort);
      remove(this);
    }
  }

  function remove(place: Place): void {
    const places = waiting.get(place.network) ?? [];
    const index = places.indexOf(place);
    if (index === -1) return;
    places.splice(index, 1);
    waitingCount--;
    if (places.length === 0) waiting.delete(place.network);
  }

  function advance(): void {
    while (running < options.concurrency()) {
      const place = nextReady();
      if (place === undefined) return;
      const places = waiting.get(place.network) ?? [];
      waiting.delete(place.network);
      waiting.set(place.network, places);
      place.begin();
    }
  }

  function nextReady(): Place | undefined {
    for (const places of waiting.values()) {
      const place = places.find(({ isReady }) => isReady);
      if (place !== undefined) return place;
    }
    return undefined;
  }

  /** Makes room for one more of that network. @throws AuthError `overloaded` if none can be made. */
  function makeRoom(network: string): void {
    if (waitingCount < options.waitingMax) return;
    const own = waiting.get(network)?.length ?? 0;
    const [largest = []] = [...waiting.values()].sort((a, b) => b.length - a.length);
    if (largest.length <= own + 1) throw overloaded();
    largest.at(-1)?.giveUp();
  }

  function overloaded(): AuthError {
    const seconds = Math.ceil((waitingCount * averageMs) / options.concurrency() / 1000);
    const retryAfterSeconds = Math.min(Math.max(seconds, 1), retryAfterSecondsMax);
    return new AuthError("overloaded", "the hash queue is full", { retryAfterSeconds });
  }

  return {
    enter(network, signal) {
      signal?.throwIfAborted();
      makeRoom(network);
      const place = new Place(network, signal);
      const places = waiting.get(network);
      if (places === undefined) waiting.set(network, [place]);
      else places.push(place);
      waitingCount++;
      return place;
    },
    depth: () => ({ running, waiting: waitingCount }),
  };
}
