/** Whether the service can work, and what prevents it. Depends on node only. */
import { EventEmitter, once } from "node:events";

export interface Readiness {
  isReady(): boolean;
  /** The problems by part; empty when everything is ready. */
  problems(): Readonly<Record<string, string>>;
  /** Sets the problem of a part; undefined clears it. */
  set(part: string, problem: string | undefined): void;
  /** Resolves at the next change of `isReady`, or when `signal` aborts. */
  changed(signal: AbortSignal): Promise<void>;
}

export function createReadiness(initial: Readonly<Record<string, string>>): Readiness {
  const problems = new Map(Object.entries(initial));
  const events = new EventEmitter().setMaxListeners(0);
  const isReady = () => problems.size === 0;
  return {
    isReady,
    problems: () => Object.fromEntries(problems),
    set(part, problem) {
      const before = isReady();
      if (problem === undefined) problems.delete(part);
      else problems.set(part, problem);
      if (isReady() !== before) events.emit("change");
    },
    async changed(signal) {
      await once(events, "change", { signal }).catch(() => undefined);
    },
  };
}
