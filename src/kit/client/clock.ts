/** The kit's clock, which tests can replace. Depends on nothing. */

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Calls `work` after `delayMs`. Does not keep the process alive. */
  timer(delayMs: number, work: () => void): Timer;
  /** Resolves after `delayMs`. @throws the signal's reason if that aborts first */
  sleep(delayMs: number, signal: AbortSignal): Promise<void>;
}

/** The longest delay that `setTimeout` accepts. */
const delayMaxMs = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  timer(delayMs, work) {
    const timeout: unknown = setTimeout(work, Math.min(delayMs, delayMaxMs));
    // In a browser the timeout is a number, without `unref`.
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
