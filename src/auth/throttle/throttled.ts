/** The limits, and the refusal of an attempt that meets one. Depends on errors. */
import { AuthError } from "../errors.js";

export interface ThrottleLimits {
  /** Failures of one username from one network. */
  readonly failures: number;
  /** Failures of one username from all networks. */
  readonly userFailures: number;
  /** Failures from one network. */
  readonly networkFailures: number;
  /** After this time without a failure, failures are forgotten. */
  readonly windowSeconds: number;
}

/** Which limit an attempt met. */
export type ThrottleScope = "username_and_network" | "username" | "network";

/** The refusal of an attempt; its code is `rate_limited`. */
export class Throttled extends AuthError {
  readonly scope: ThrottleScope;

  constructor(scope: ThrottleScope, waitMs: number) {
    const retryAfterSeconds = Math.max(1, Math.ceil(waitMs / 1000));
    super("rate_limited", `throttled by ${scope}`, { retryAfterSeconds });
    this.scope = scope;
  }

  /** Whether an account's trust in its network lifts the refusal. */
  get isLifted(): boolean {
    return this.scope !== "username_and_network";
  }
}

/** The counter over all networks in a user's record, and the only counter in a network's. */
export const all = "all";

export function scopeOf(kind: "user" | "network", counter: string): ThrottleScope {
  if (kind === "network") return "network";
  return counter === all ? "username" : "username_and_network";
}
