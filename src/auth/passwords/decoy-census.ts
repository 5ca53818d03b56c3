/**
 * Keeps the decoy like the collection: now and then it is shown hashes drawn from it at random.
 * Depends on passwords and users.
 */
import type { Decoy } from "./passwords.js";
import type { UserStore } from "../users.js";

export interface DecoyCensus {
  /** Takes the first sample; the others follow by themselves until `stop`. Never rejects. */
  start(): Promise<void>;
  stop(): void;
}

const sampleUsers = 200;
const intervalMs = 3_600_000;
const retryMs = 60_000;

export function createDecoyCensus(deps: {
  readonly users: Pick<UserStore, "sampleHashes">;
  readonly decoy: Decoy;
  /** Secret that every replica knows. */
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
