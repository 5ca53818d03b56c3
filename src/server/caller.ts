/** Who a request is from, and how the domain is told. Depends on auth's types. */
import type { Attempt, Surface, TraceIds } from "../auth/gate.js";
import { networkOf } from "./client-address.js";

export interface Caller {
  readonly clientAddress: string;
  readonly requestId: string;
  readonly traceIds: TraceIds | undefined;
  /** Aborts when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

export function toAttempt(surface: Surface, caller: Caller): Attempt {
  const { clientAddress, requestId } = caller;
  return {
    surface,
    requestId,
    // Only a password check asks for these; a renewal needs neither.
    get clientNetwork() {
      return networkOf(clientAddress);
    },
    get signal() {
      return caller.signal;
    },
    get traceIds() {
      return caller.traceIds;
    },
  };
}
