/** A clock for the kit that stands still until the test moves it. */
import type { Clock, Timer } from "../../src/kit/client/clock.js";

export class MovedClock implements Clock {
  #nowMs: number;
  readonly #due = new Set<{ readonly atMs: number; readonly work: () => void }>();

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
  }

  now(): number {
    return this.#nowMs;
  }

  timer(delayMs: number, work: () => void): Timer {
    const entry = { atMs: this.#nowMs + delayMs, work };
    this.#due.add(entry);
    return { cancel: () => void this.#due.delete(entry) };
  }

  sleep(delayMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = this.timer(delayMs, resolve);
      signal.addEventListener("abort", () => {
        timer.cancel();
        reject(signal.reason as Error);
      });
    });
  }

  /** Moves the clock on and runs what is due by then, the earliest first. */
  advance(ms: number): void {
    this.#nowMs += ms;
    const due = [...this.#due].filter(({ atMs }) => atMs <= this.#nowMs);
    for (const entry of due.sort((a, b) => a.atMs - b.atMs)) {
      if (this.#due.delete(entry)) entry.work();
    }
  }
}
