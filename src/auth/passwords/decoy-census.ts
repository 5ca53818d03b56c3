/**
 * Keeps the decoy's cost like that of the users' hashes: samples them at random every hour. Depends on passwords
 * and users.
 */
import type { Decoy } from "./passwords.js";
import type { UserStore } from "../users.js";

export interface DecoyCensus {
  /** Takes the first sample, and then one every hour until `stop`. Never rejects. */
  start(): Promise<void>;
  stop(): void;
}

const sampleUsers = 200;
const intervalMs = 3_600_000;
const retryMs = 60_000;

export function createDecoyCensus(deps: {
  readonly users: Pick<UserStore, "sampleHashes">;
  readonly decoy: Decoy;
  /** A secret that all replicas share. */
  readonly secret: () => Promise<Uint8Array>;
  readonly onError: (error: unknown) => void;
}): DecoyCensus {
  const { users, decoy, secret, onError } = deps;
  let timer: NodeJS.Timeout | undefined;
  let isStopped = false;

  async function start(): Promise<void> {
    let waitMs = intervalMs;
    try {
      decoy.follow(await users.sampleHashes(sampleUsers), await secret());
    } catch (error) {
      onError(error);
      waitMs = retryMs;
    }
    if (!isStopped) timer = setTimeout(() => void start(), waitMs).unref();
  }

  return {
    start,
    stop() {
      isStopped = true;
      clearTimeout(timer);
    },
  };
}
