/**
 * The file that each thread of thread.ts runs: computes one hash after the other. A thread loads its
 * file itself, so it needs the built one; jest.config.js makes the tests load that too.
 * Depends on its neighbour `crypt-digests.ts`, @node-rs/argon2, @node-rs/bcrypt and node.
 */
import { pbkdf2Sync, scryptSync } from "node:crypto";
import { getPriority, platform, setPriority } from "node:os";
import { parentPort } from "node:worker_threads";
import { hashSync as hashArgon2, verifySync as verifyArgon2 } from "@node-rs/argon2";
import { verifySync as verifyBcrypt } from "@node-rs/bcrypt";
import { md5Crypt, phpass, saltedDigest, sha1Crypt, shaCrypt } from "./crypt-digests.js";

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
};

export type Computations = typeof computations;

export interface Job {
  readonly name: keyof Computations;
  readonly args: readonly unknown[];
}

export type Answer = { readonly result: unknown } | { readonly error: unknown };

/** With it a thread gets a third of the processor time where others want it too (sched(7)). */
const lessPriority = 5;

// While cores are short, a hash gives way to everything else. Only Linux has a priority for each thread
// (setpriority(2), notes); elsewhere this would lower the whole process.
if (platform() === "linux") {
  try {
    setPriority(Math.min(getPriority() + lessPriority, 19));
  } catch {
    // Where a sandbox forbids it, hashes compete with the rest.
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
