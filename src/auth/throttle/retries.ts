/** Does what the store did not confirm again, until it does. Depends on nothing. */

const firstMs = 250;
const longest = 20;
/** Some 15 minutes. */
const triesMax = 180;
/** Beyond it what was begun is lost, as with a process that dies. */
const openMax = 1000;

export class Retries {
  readonly #firstMs: number;
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(first = firstMs) {
    this.#firstMs = first;
  }

  /**
   * @param work may have been done already each time that it is called.
   * @param onEnd called once it is done or given up.
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
