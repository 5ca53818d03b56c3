/** A clock that moves only when everything that can happen at its time has happened. */
export class VirtualTime {
  nowMs: number;
  readonly #events: { atMs: number; wake: () => void }[] = [];

  constructor(startMs: number) {
    this.nowMs = startMs;
  }

  sleepUntil(atMs: number): Promise<void> {
    return new Promise((wake) => {
      let index = this.#events.length;
      while (index > 0 && (this.#events[index - 1]?.atMs ?? Infinity) <= atMs) index--;
      this.#events.splice(index, 0, { atMs, wake });
    });
  }

  sleep(ms: number): Promise<void> {
    return this.sleepUntil(this.nowMs + ms);
  }

  /** Runs until that time. Rejects as soon as `failed` returns a reason. */
  async run(untilMs: number, failed: () => Error | undefined): Promise<void> {
    for (let next = this.#events.at(-1); next && next.atMs <= untilMs; next = this.#events.at(-1)) {
      this.#events.pop();
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.wake();
      await new Promise(setImmediate);
      const error = failed();
      if (error) throw error;
    }
    this.nowMs = untilMs;
  }
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
