/**
 * Runs in each thread of thread.ts and computes one hash after another. A thread loads this file itself and needs
 * the compiled one; jest.config.js makes the tests load that too.
 * Depends on its neighbours `crypt-digests.ts` and `yescrypt.ts`, @node-rs/argon2, @node-rs/bcrypt and node.
 */
import { pbkdf2Sync, scryptSync } from "node:crypto";
import { getPriority, platform, setPriority } from "node:os";
import { parentPort } from "node:worker_threads";
import { hashSync as hashArgon2, verifySync as verifyArgon2 } from "@node-rs/argon2";
import { verifySync as verifyBcrypt } from "@node-rs/bcrypt";
import { md5Crypt, phpass, saltedDigest, sha1Crypt, shaCrypt } from "./crypt-digests.js";
import { yescrypt } from "./yescrypt.js";

const computations = {
  verifyArgon2,
  hashArgon2,
  verifyBcrypt,
  pbkdf2: pbkdf2Sync,
  scrypt: scryptSync,
  md5Crypt,
  shaCrypt,
  phpass,
  sha1Crypt,
  saltedDigest,
  yescrypt,
};

export type Computations = typeof computations;

export interface Job {
  readonly name: keyof Computations;
  readonly args: readonly unknown[];
}

export type Answer = { readonly result: unknown } | { readonly error: unknown };

/** A niceness at which a thread gets a third of the time of a core that it shares (sched(7)). */
const lessPriority = 5;

// Lets everything else run before hashes when cores are short. Only Linux has a priority per thread
// (setpriority(2), notes); elsewhere this would lower that of the whole process.
if (platform() === "linux") {
  try {
    setPriority(Math.min(getPriority() + lessPriority, 19));
  } catch {
    // A sandbox may forbid it; then hashes compete with the rest.
  }
}

function compute({ name, args }: Job): Answer {
  try {
    const computation = computations[name] as (...args: readonly unknown[]) => unknown;
    return { result: computation(...args) };
  } catch (error) {
    return { error };
  }
}

parentPort?.on("message", (job: Job) => parentPort?.postMessage(compute(job)));
