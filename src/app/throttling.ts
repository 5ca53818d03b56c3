/** Makes the throttle of a configuration. Depends on auth, the server's networks and config. */
import { Throttle, type ThrottleOptions, type ThrottleStore } from "../auth/throttle/throttle.js";
import type { Config } from "../config/config.js";
import { usernameKeyFor } from "../config/presets.js";
import { createExemption } from "../server/client-address.js";

/** Returns undefined if throttling is off. */
export function createConfiguredThrottle(
  config: Config,
  store: { readonly throttle: ThrottleStore; secret(): Promise<Uint8Array> },
  options: Pick<ThrottleOptions, "clock" | "checksMax"> = {},
): Throttle | undefined {
  if (config.THROTTLE_FAILURES === 0) return undefined;
  return new Throttle({
    store: store.throttle,
    secret: () => store.secret(),
    limits: {
      failures: config.THROTTLE_FAILURES,
      userFailures: config.THROTTLE_USER_FAILURES,
      networkFailures: config.THROTTLE_NETWORK_FAILURES,
      windowSeconds: config.THROTTLE_WINDOW,
    },
    isExempt: createExemption(config.THROTTLE_EXEMPT_NETWORKS ?? []),
    usernameKey: usernameKeyFor(config),
    ...options,
  });
}
