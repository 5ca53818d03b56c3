/**
 * Threads for password hashes, so that neither the event loop nor signatures, which run in libuv's threads, wait
 * for one. They are started when needed; idle ones do not keep the process alive. Depends on thread-worker.ts and
 * node.
 */
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { Answer, Computations, Job } from "./thread-worker.js";

/** One per core: more threads would not compute more hashes. */
const threadsMax = availableParallelism();
const idle: Worker[] = [];
const waiting: (() => void)[] = [];
let busy = 0;

/**
 * Calls a function of thread-worker.ts in a thread. A Buffer arrives there as a Uint8Array.
 *
 * @throws the function's error, or the error that ended the thread; the next call starts a new one
 */
export async function computeInThread<Name extends keyof Computations>(
  name: Name,
  ...args: Parameters<Computations[Name]>
): Promise<ReturnType<Computations[Name]>> {
  while (busy >= threadsMax) await new Promise<void>((resolve) => waiting.push(resolve));
  busy += 1;
  try {
    const worker = idle.pop() ?? new Worker(new URL("./thread-worker.js", import.meta.url));
    worker.ref();
    worker.postMessage({ name, args } satisfies Job);
    const [answer] = (await once(worker, "message")) as [Answer];
    worker.unref();
    idle.push(worker);
    if ("error" in answer) throw answer.error;
    return answer.result as ReturnType<Computations[Name]>;
  } finally {
    busy -= 1;
    waiting.shift()?.();
  }
}
