/**
 * Bounds how many passwords of one username and network a process checks at a time. Tells which
 * attempts may go first, that is be checked before they take places. Depends on nothing.
 *
 * After an attempt that went first was wrong, no other goes first until it is counted; those that
 * wait take places instead.
 */

export class Turns {
  readonly #max: () => number;
  readonly #pairs = new Map<string, Pair>();

  /** @param max called when an attempt may begin. With 0 all begin, and none goes first. */
  constructor(max: () => number) {
    this.#max = max;
  }

  /** Called before the records are read, so that the turn learns of every failure since. */
  enter(pair: string): Turn {
    const state = this.#pairs.get(pair) ?? new Pair(this.#max);
    this.#pairs.set(pair, state);
    state.visitors++;
    return new Turn(state, () => {
      if (--state.visitors === 0) this.#pairs.delete(pair);
    });
  }
}

interface Waiter {
  readonly goesFirst: boolean;
  readonly decide: (hasTurn: boolean) => void;
}

class Pair {
  visitors = 0;
  running = 0;
  /** Wrong attempts that went first, since the first of the present visitors came. */
  wrong = 0;
  uncounted = 0;
  waiting: Waiter[] = [];
  readonly max: () => number;

  constructor(max: () => number) {
    this.max = max;
  }

  advance(): void {
    if (this.uncounted > 0 || this.max() === 0) this.#refuseFirst();
    while (this.waiting.length > 0 && (this.max() === 0 || this.running < this.max())) {
      this.running++;
      this.waiting.shift()?.decide(true);
    }
  }

  #refuseFirst(): void {
    const first = this.waiting.filter(({ goesFirst }) => goesFirst);
    this.waiting = this.waiting.filter(({ goesFirst }) => !goesFirst);
    for (const { decide } of first) decide(false);
  }
}

/** The turn of one attempt. It ends with `leave`, which must be called in every case. */
export class Turn {
  readonly #pair: Pair;
  readonly #onLeave: () => void;
  readonly #wrongBefore: number;
  #isRunning = false;
  #hasLeft = false;

  constructor(pair: Pair, onLeave: () => void) {
    this.#pair = pair;
    this.#onLeave = onLeave;
    this.#wrongBefore = pair.wrong;
  }

  /**
   * Waits for the turn to go first. False if the attempt has to take places.
   * @throws the signal's reason.
   */
  async first(signal: AbortSignal): Promise<boolean> {
    const { max, uncounted, wrong } = this.#pair;
    if (max() === 0 || uncounted > 0 || wrong !== this.#wrongBefore) return false;
    return this.#wait(true, signal);
  }

  /** Waits for the turn of an attempt that has places. @throws the signal's reason. */
  async next(signal: AbortSignal): Promise<void> {
    await this.#wait(false, signal);
  }

  /** The outcome is known, so the next attempt may begin. */
  end(): void {
    if (!this.#isRunning) return;
    this.#isRunning = false;
    this.#pair.running--;
    this.#pair.advance();
  }

  /** Like `end`, for a wrong password that went first. */
  endWrong(): void {
    this.#pair.wrong++;
    this.#pair.uncounted++;
    this.end();
  }

  /** The failure of a wrong password that went first is stored. */
  counted(): void {
    this.#pair.uncounted--;
  }

  leave(): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.end();
    this.#onLeave();
  }

  async #wait(goesFirst: boolean, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    const pair = this.#pair;
    let onAbort: (() => void) | undefined;
    try {
      this.#isRunning = await new Promise<boolean>((resolve, reject) => {
        const waiter = { goesFirst, decide: resolve };
        onAbort = () => {
          const index = pair.waiting.indexOf(waiter);
          if (index === -1) return;
          pair.waiting.splice(index, 1);
          reject(signal.reason as Error);
        };
        signal.addEventListener("abort", onAbort);
        pair.waiting.push(waiter);
        pair.advance();
      });
      return this.#isRunning;
    } finally {
      if (onAbort) signal.removeEventListener("abort", onAbort);
    }
  }
}
