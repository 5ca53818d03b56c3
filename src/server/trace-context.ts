/** The trace that a request belongs to. Depends on node only. */
import type { IncomingHttpHeaders } from "node:http";

/** The ids under OpenTelemetry's names for log fields. */
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
 * Parses `traceparent` (W3C Trace Context, section 3.2), later versions as far as they are
 * compatible. Returns undefined if it is absent or invalid.
 */
export function traceContextOf({ traceparent }: IncomingHttpHeaders): TraceContext | undefined {
  if (typeof traceparent !== "string") return undefined;
  const [, version, traceId, spanId, flags = "", rest] = form.exec(traceparent) ?? [];
  if (traceId === undefined || spanId === undefined) return undefined;
  if (version === "00" && rest !== undefined) return undefined;
  return { traceId, spanId, isSampled: parseInt(flags, 16) % 2 === 1 };
}

/** The same ids for a log line. */
export function traceIdsOf(headers: IncomingHttpHeaders): TraceIds | undefined {
  const context = traceContextOf(headers);
  return context && { trace_id: context.traceId, span_id: context.spanId };
}
