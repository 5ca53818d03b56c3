/**
 * Threads for the hashes that only JavaScript computes, so that they never hold up the event loop.
 * Started when first needed; idle ones do not keep the process alive. Depends on node:worker_threads.
 */
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";

/** What thread-worker.js computes. */
export interface CryptJob {
  readonly hash: "md5-crypt" | "sha256-crypt" | "sha512-crypt" | "phpass" | "spring-sha256";
  readonly password: Uint8Array;
  readonly salt: Uint8Array;
  /** Of the sha-crypts and phpass. */
  readonly rounds?: number;
  /** Of md5-crypt: `$1$` or `$apr1$`. */
  readonly magic?: string;
}

const threadsMax = Math.max(1, availableParallelism() - 1);
const idle: Worker[] = [];
const waiting: (() => void)[] = [];
let busy = 0;

/** The encoded digest. Rejects where the thread died; the next call gets a new one. */
export async function computeInThread(job: CryptJob): Promise<string> {
  while (busy >= threadsMax) await new Promise<void>((resolve) => waiting.push(resolve));
  busy += 1;
  try {
    const worker = idle.pop() ?? new Worker(new URL("./thread-worker.js", import.meta.url));
    worker.ref();
    worker.postMessage(job);
    const [digest] = (await once(worker, "message")) as [string];
    worker.unref();
    idle.push(worker);
    return digest;
  } finally {
    busy -= 1;
    waiting.shift()?.();
  }
}
