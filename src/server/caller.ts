/** Who a request is from, and how the domain is told. Depends on auth's types. */
import type { Attempt, Surface } from "../auth/gate/gate.js";
import { networkOf } from "./client-address.js";
import type { TraceIds } from "./trace-context.js";

export interface Caller {
  readonly clientAddress: string;
  readonly requestId: string;
  readonly traceIds: TraceIds | undefined;
  /** Aborts when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

/**
 * An attempt of that caller.
 *
 * @param waiting whose signal tells that nobody waits any more, where it is not the caller's own.
 */
export function toAttempt(
  surface: Surface,
  caller: Caller,
  waiting: Pick<Caller, "signal"> = caller,
): Attempt {
  return new CallerAttempt(surface, caller, waiting);
}

/**
 * Only a password check asks for most of it; a renewal does not. V8 gives each object literal with getters a
 * hidden class of its own, which keeps the whole request alive up to the next full garbage collection.
 */
class CallerAttempt implements Attempt {
  readonly #caller: Caller;
  readonly #waiting: Pick<Caller, "signal">;

  constructor(
    readonly surface: Surface,
    caller: Caller,
    waiting: Pick<Caller, "signal">,
  ) {
    this.#caller = caller;
    this.#waiting = waiting;
  }

  get requestId(): string {
    return this.#caller.requestId;
  }

  get clientNetwork(): string {
    return networkOf(this.#caller.clientAddress);
  }

  get signal(): AbortSignal {
    return this.#waiting.signal;
  }

  get labels(): TraceIds | undefined {
    return this.#caller.traceIds;
  }
}
