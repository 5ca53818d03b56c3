/**
 * Threads for password hashes, so that neither the event loop nor signatures ever wait for one: those
 * have libuv's threads to themselves. Started when first needed; idle ones do not keep the process
 * alive. Depends on thread-worker.ts and node.
 */
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { Answer, Computations, Job } from "./thread-worker.js";

/** More would not compute more hashes. */
const threadsMax = availableParallelism();
const idle: Worker[] = [];
const waiting: (() => void)[] = [];
let busy = 0;

/**
 * The result of that function of thread-worker.ts. A Buffer arrives there as a Uint8Array.
 *
 * @throws Error what the function throws, or why the thread died. The next call starts a new thread.
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
