/**
 * Lets a process check a bounded number of passwords of one name and network at a time, and tells which of
 * them may go first: checked before a place is taken. Depends on nothing.
 *
 * Once one that went first was wrong, no other does until it is counted; those that wait take places instead.
 */

export class Turns {
  readonly #max: () => number;
  readonly #pairs = new Map<string, Pair>();

  /** @param max read whenever one may begin; 0 lets all begin, and none first. */
  constructor(max: () => number) {
    this.#max = max;
  }

  /** To be called before the records are read, so that the visitor knows of every failure since. */
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
  /** How many that went first were wrong, while anybody is here who may not know of them. */
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

/** The turn of one attempt. `leave` ends it, whatever happens. */
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
   * Waits for the turn to go first; false where the attempt has to take places.
   * @throws the signal's reason.
   */
  async first(signal: AbortSignal): Promise<boolean> {
    const { max, uncounted, wrong } = this.#pair;
    if (max() === 0 || uncounted > 0 || wrong !== this.#wrongBefore) return false;
    return this.#wait(true, signal);
  }

  /** Waits for the turn of one that has places. @throws the signal's reason. */
  async next(signal: AbortSignal): Promise<void> {
    await this.#wait(false, signal);
  }

  /** The outcome is known: the next one may begin. */
  end(): void {
    if (!this.#isRunning) return;
    this.#isRunning = false;
    this.#pair.running--;
    this.#pair.advance();
  }

  /** As `end`, where it went first and the password was wrong. */
  endWrong(): void {
    this.#pair.wrong++;
    this.#pair.uncounted++;
    this.end();
  }

  /** The failure is in the store. */
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
