/** Repeats what the store did not confirm until it does. Depends on nothing. */

const firstMs = 250;
const longest = 20;
/** About 15 minutes. */
const triesMax = 180;
/** Beyond this many, unfinished work is lost, as when a process dies. */
const openMax = 1000;

export class Retries {
  readonly #firstMs: number;
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(first = firstMs) {
    this.#firstMs = first;
  }

  /**
   * @param work may have succeeded already, each time that it is called.
   * @param onEnd called once the work is done or given up.
   */
  add(work: () => Promise<unknown>, onEnd = (): void => undefined, tries = 0): void {
    if (tries === triesMax || this.#timers.size === openMax) {
      onEnd();
      return;
    }
    const ms = this.#firstMs * Math.min(2 ** tries, longest);
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      work().then(onEnd, () => this.add(work, onEnd, tries + 1));
    }, ms).unref();
    this.#timers.add(timer);
  }

  close(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }
}
