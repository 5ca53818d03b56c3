// @ts-check
/**
 * The thread behind thread.ts. Plain JavaScript, because a thread loads its file itself, also where
 * the sources run uncompiled as in the tests. Depends on node:crypto and the hash libraries.
 */
import { pbkdf2Sync, scryptSync } from "node:crypto";
import { getPriority, platform, setPriority } from "node:os";
import { parentPort } from "node:worker_threads";
import { hashSync as hashArgon2, verifySync as verifyArgon2 } from "@node-rs/argon2";
import { verifySync as verifyBcrypt } from "@node-rs/bcrypt";
import { md5Crypt, phpass, shaCrypt, springSha256 } from "./crypt-digests.js";

/**
 * @typedef {typeof computations} Computations
 * @typedef {{ name: keyof Computations, args: readonly unknown[] }} Job
 * @typedef {{ result: unknown } | { error: unknown }} Answer
 */
const computations = {
  verifyArgon2,
  hashArgon2,
  verifyBcrypt,
  pbkdf2: pbkdf2Sync,
  scrypt: scryptSync,
  md5Crypt,
  shaCrypt,
  phpass,
  springSha256,
};

/** A third of the processor time where others want it too (sched(7)): they wait little, and logins go on. */
const lessPriority = 5;

// While cores are short a hash gives way to everything else. Linux alone has a priority for each thread
// (setpriority(2), notes); elsewhere it would be that of the whole process.
if (platform() === "linux") {
  try {
    setPriority(Math.min(getPriority() + lessPriority, 19));
  } catch {
    // Where a sandbox forbids it, hashes compete with the rest.
  }
}

/** @type {(job: Job) => Answer} */
function compute({ name, args }) {
  try {
    const computation = /** @type {(...args: unknown[]) => unknown} */ (computations[name]);
    return { result: computation(...args) };
  } catch (error) {
    return { error };
  }
}

parentPort?.on(
  "message",
  /** @type {(job: Job) => void} */ (job) => parentPort?.postMessage(compute(job)),
);
