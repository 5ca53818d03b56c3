/**
 * The time that one request may spend on the store, over all its calls together. Depends on errors.
 */
import { AuthError } from "./errors.js";

export class StoreBudget {
  readonly #now: () => number;
  #leftMs: number;
  #startMs: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #onOver = (): void => undefined;

  /** @param now milliseconds; never goes back. */
  constructor(ms: number, now: () => number) {
    this.#leftMs = ms;
    this.#now = now;
  }

  /**
   * Settles as `work` does, or rejects when the time is used up. What was begun may still complete.
   * @throws AuthError `store_unavailable`
   */
  async during<T>(work: Promise<T>): Promise<T> {
    const over = new Promise<never>((_, reject) => {
      this.#onOver = () => reject(noTime());
    });
    this.resume();
    try {
      return await Promise.race([work, over]);
    } finally {
      this.pause();
    }
  }

  /** Stops the clock while a request waits for other requests, not for the store. */
  pause(): void {
    if (this.#startMs === undefined) return;
    clearTimeout(this.#timer);
    this.#leftMs -= this.#now() - this.#startMs;
    this.#startMs = undefined;
  }

  resume(): void {
    if (this.#startMs !== undefined) return;
    this.#startMs = this.#now();
    this.#timer = setTimeout(() => this.#onOver(), Math.max(0, this.#leftMs));
  }
}

const noTime = () =>
  new AuthError("store_unavailable", "the store took too long for one request", {
    retryAfterSeconds: 1,
  });
