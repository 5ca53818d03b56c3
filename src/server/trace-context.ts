/** The trace that a request belongs to. Depends on node only. */
import type { IncomingHttpHeaders } from "node:http";

/** By the names that OpenTelemetry gives the ids in a log. */
export interface TraceIds {
  readonly trace_id: string;
  readonly span_id: string;
}

export interface TraceContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly isSampled: boolean;
}

const form =
  /^(?!ff)([\da-f]{2})-(?!0{32})([\da-f]{32})-(?!0{16})([\da-f]{16})-([\da-f]{2})(-.*)?$/;

/**
 * What `traceparent` says (W3C Trace Context, section 3.2), in a later version than 00 as far as it can be
 * understood; undefined where there is none that is valid.
 */
export function traceContextOf({ traceparent }: IncomingHttpHeaders): TraceContext | undefined {
  if (typeof traceparent !== "string") return undefined;
  const [, version, traceId, spanId, flags = "", rest] = form.exec(traceparent) ?? [];
  if (traceId === undefined || spanId === undefined) return undefined;
  if (version === "00" && rest !== undefined) return undefined;
  return { traceId, spanId, isSampled: parseInt(flags, 16) % 2 === 1 };
}

/** The same for a log line. */
export function traceIdsOf(headers: IncomingHttpHeaders): TraceIds | undefined {
  const context = traceContextOf(headers);
  return context && { trace_id: context.traceId, span_id: context.spanId };
}
