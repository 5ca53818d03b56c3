/** The time as the kit sees it, so that tests can move it. Depends on nothing. */

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Calls `work` after so long. Does not keep the process alive. */
  timer(delayMs: number, work: () => void): Timer;
  /** Resolves after so long. @throws the signal's reason where that aborts first. */
  sleep(delayMs: number, signal: AbortSignal): Promise<void>;
}

/** The longest delay that `setTimeout` takes. */
const delayMaxMs = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  timer(delayMs, work) {
    const timeout: unknown = setTimeout(work, Math.min(delayMs, delayMaxMs));
    // A browser's is a number.
    (timeout as { unref?: () => void }).unref?.();
    return { cancel: () => clearTimeout(timeout as number) };
  },
  sleep(delayMs, signal) {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        clearTimeout(timeout);
        reject(signal.reason as Error);
      };
      const timeout = setTimeout(() => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      }, delayMs);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  },
};
