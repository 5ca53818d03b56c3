/** Lists what is counted at present, for operators. Depends on its neighbours. */
import { nextAfterMs, prune } from "./record.js";
import type { ThrottleStore } from "./store.js";
import { parseRecord } from "./stored-record.js";
import { scopeOf, type ThrottleLimits, type ThrottleScope } from "./throttled.js";

export interface ThrottleEntry {
  /** Undefined for a network, and if there is no such user. */
  readonly username: string | undefined;
  readonly network: string | undefined;
  readonly scope: ThrottleScope;
  readonly failures: number;
  /** Whole seconds until the next attempt is let through; 0 below the limit. */
  readonly retryAfterSeconds: number;
}

/** In no particular order. */
export async function* listEntries(
  store: ThrottleStore,
  limits: ThrottleLimits,
  clock: { now(): number },
): AsyncIterable<ThrottleEntry> {
  for await (const { key, document } of store.list()) {
    const kind = key.split(":", 1)[0];
    if (kind !== "user" && kind !== "network") continue;
    const nowMs = clock.now();
    const { label, counters } = prune(parseRecord(document), nowMs, limits.windowSeconds * 1000);
    for (const [name, { failures, nextAtMs }] of Object.entries(counters)) {
      const scope = scopeOf(kind, name);
      const waitMs = failures < limitOf(scope, limits) ? 0 : Math.max(0, nextAtMs - nowMs);
      yield {
        username: kind === "user" ? label : undefined,
        network: kind === "network" ? label : undefined,
        scope,
        failures,
        retryAfterSeconds: Math.ceil(Math.min(waitMs, nextAfterMs) / 1000),
      };
    }
  }
}

function limitOf(scope: ThrottleScope, limits: ThrottleLimits): number {
  const by = {
    username_and_network: limits.failures,
    username: limits.userFailures,
    network: limits.networkFailures,
  };
  return by[scope];
}
