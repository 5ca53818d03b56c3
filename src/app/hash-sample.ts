/**
 * Counts the hash families of a random sample, for the decoy and the status page. Keeps no hash.
 * Depends on auth.
 */
import { inspectHash } from "../auth/passwords/passwords.js";
import type { UserStore } from "../auth/users.js";

export interface FamilySample {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly families: Readonly<Record<string, number>>;
}

const sampleUsers = 200;
const staleMs = 60_000;

type Sampled = Pick<UserStore, "sampleHashes">;

export function countFamilies(users: Sampled, now: () => number) {
  let last: FamilySample | undefined;
  let askedAt = -Infinity;
  const sampling: Sampled = {
    async sampleHashes(size) {
      const hashes = await users.sampleHashes(size);
      const families: Record<string, number> = {};
      for (const hash of hashes) {
        const { verdict, family = "unknown" } = inspectHash(hash);
        const name = verdict === "ok" ? family : "not usable";
        families[name] = (families[name] ?? 0) + 1;
      }
      last = { at: now(), families };
      return hashes;
    },
  };

  /** Returns the last counts. Starts a new sample, at most once a minute. */
  function look(): FamilySample | undefined {
    if (now() - askedAt > staleMs) {
      askedAt = now();
      void sampling.sampleHashes(sampleUsers).catch(() => undefined);
    }
    return last;
  }
  return { users: sampling, look };
}
