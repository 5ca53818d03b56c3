/** The caller of a request, as the domain needs it. Depends on auth's types. */
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
 * Makes an attempt of the caller.
 * @param waiting has the signal that ends the waiting, if it is not the caller's own
 */
export function toAttempt(
  surface: Surface,
  caller: Caller,
  waiting: Pick<Caller, "signal"> = caller,
): Attempt {
  return new CallerAttempt(surface, caller, waiting);
}

/**
 * Its fields are computed on demand: a renewal needs few of them. A class, because V8 gives each
 * object literal with getters its own hidden class, which keeps the request alive until the next
 * full garbage collection.
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
