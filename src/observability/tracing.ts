/**
 * Traces of requests, sent to a collector by OTLP. Depends on auth, the server's types and
 * OpenTelemetry's SDK: imported only if traces are on.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { randomUUID } from "node:crypto";
import {
  createTraceState,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Attributes,
  type Context,
  type Span,
} from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import {
  defaultResource,
  detectResources,
  envDetector,
  resourceFromAttributes,
} from "@opentelemetry/resources";
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  type SpanExporter,
} from "@opentelemetry/sdk-trace-base";
import type { HashQueue, Verify } from "../auth/gate/gate.js";
import { inspectHash } from "../auth/passwords/passwords.js";
import type { NodeRequest, NodeResponse } from "../server/exchange.js";
import type { AccessEntry } from "../server/handler.js";
import { traceContextOf } from "../server/trace-context.js";
import type { Logger } from "./log.js";
import type { StoreCall } from "./observed-store.js";
import { describeHttp, describeRpc } from "./request-span.js";

type Handler = (req: NodeRequest, res: NodeResponse) => void;

export interface Tracing {
  /** Wraps the handler: makes a span for every sampled request, which `onAccess` ends. */
  readonly traceRequests: (
    handler: Handler,
    isRpc: (route: string) => boolean,
    scheme: string,
  ) => Handler;
  /** Wraps the queue: makes a span for the wait. */
  readonly traceHashes: (queue: Pick<HashQueue, "enter">) => Pick<HashQueue, "enter">;
  /** Wraps the check of a password: makes a span. */
  readonly traceVerify: (verify: Verify) => Verify;
  readonly onAccess: (entry: AccessEntry) => void;
  readonly onStoreCall: (call: StoreCall) => void;
  /** Sends the remaining traces, for at most `waitMs`. */
  close(waitMs: number): Promise<void>;
}

export interface TracingOptions {
  /** `service.version`. */
  readonly version: string;
  /** `db.system.name` of the store. */
  readonly storeSystem: "mongodb" | "lmdb";
  /** Whether a trace that a caller began is continued. */
  readonly followsCallers: boolean;
  readonly logger: Logger;
}

interface Request {
  readonly context: Context;
  /** When its answer ended, by the clock of `performance`. */
  endMs: number;
}

/** The SDK reads the rest from its environment variables. */
export function startTracing(options: TracingOptions): Tracing {
  const { version, storeSystem, followsCallers, logger } = options;
  const exporter = tellFailures(new OTLPTraceExporter(), logger);
  const provider = new BasicTracerProvider({
    resource: defaultResource()
      .merge(
        resourceFromAttributes({
          "service.name": "latchkey",
          "service.version": version,
          "service.instance.id": randomUUID(),
        }),
      )
      .merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [new BatchSpanProcessor(exporter)],
  });
  const tracer = provider.getTracer("latchkey", version);
  /** The functions that end the spans of open requests, by request id. */
  const ends = new Map<string, (entry: AccessEntry) => void>();
  const storage = new AsyncLocalStorage<Request>();

  /** The open request that a call, begun at `startMs`, belongs to. */
  function requestAt(startMs: number): Request | undefined {
    const request = storage.getStore();
    // Work that the request started and that outlives it is not part of its span.
    return request !== undefined && startMs <= request.endMs ? request : undefined;
  }

  function addSpan(
    { context }: Request,
    name: string,
    {
      startMs,
      endMs,
      kind = SpanKind.INTERNAL,
    }: { startMs: number; endMs: number; kind?: SpanKind },
    attributes: Attributes,
  ): void {
    const span = tracer.startSpan(name, { kind, startTime: startMs }, context);
    finish(span, attributes, endMs);
  }

  return {
    traceRequests: (handler, isRpc, scheme) => (req, res) => {
      const parent = followsCallers ? parentOf(req) : ROOT_CONTEXT;
      const span = tracer.startSpan("HTTP", { kind: SpanKind.SERVER }, parent);
      const { traceId, spanId, traceFlags } = span.spanContext();
      // From here on the request's log lines carry the span's ids too.
      req.headers["traceparent"] = `00-${traceId}-${spanId}-0${traceFlags.toString(16)}`;
      if (!span.isRecording()) {
        handler(req, res);
        return;
      }
      const request: Request = { context: trace.setSpan(ROOT_CONTEXT, span), endMs: Infinity };
      const isGrpc = /^application\/grpc/i.test(req.headers["content-type"] ?? "");
      ends.set(spanId, (entry) => {
        ends.delete(spanId);
        request.endMs = performance.now();
        const { name, attributes } = isRpc(entry.route)
          ? describeRpc(entry, isGrpc ? "grpc" : "connectrpc")
          : describeHttp(entry, scheme);
        span.updateName(name);
        finish(span, attributes, request.endMs);
      });
      storage.run(request, handler, req, res);
    },
    onAccess: (entry) => ends.get(entry.span_id ?? "")?.(entry),
    onStoreCall({ operation, durationMs, error }) {
      const endMs = performance.now();
      const startMs = endMs - durationMs;
      const request = requestAt(startMs);
      if (request === undefined) return;
      const kind = storeSystem === "mongodb" ? SpanKind.CLIENT : SpanKind.INTERNAL;
      const attributes = {
        "db.system.name": storeSystem,
        ...(error && { "error.type": error.code }),
      };
      addSpan(request, operation, { startMs, endMs, kind }, attributes);
    },
    traceHashes: (queue) => ({
      enter(network, signal) {
        const place = queue.enter(network, signal);
        return {
          signal: place.signal,
          leave: () => place.leave(),
          async run(work) {
            const startMs = performance.now();
            const request = requestAt(startMs);
            if (request === undefined) return place.run(work);
            let turnMs: number | undefined;
            try {
              return await place.run(() => {
                turnMs = performance.now();
                return work();
              });
            } finally {
              const endMs = turnMs ?? performance.now();
              addSpan(request, "hash.wait", { startMs, endMs }, {});
            }
          },
        };
      },
    }),
    traceVerify: (verify) => async (stored, password, decoy) => {
      const startMs = performance.now();
      const request = requestAt(startMs);
      try {
        return await verify(stored, password, decoy);
      } finally {
        const family = stored === undefined ? undefined : inspectHash(stored).family;
        const attributes = family === undefined ? {} : { "latchkey.hash.family": family };
        const times = { startMs, endMs: performance.now() };
        if (request !== undefined) addSpan(request, "hash.compute", times, attributes);
      }
    },
    async close(waitMs) {
      let timer: NodeJS.Timeout | undefined;
      const waited = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, Math.min(Math.max(waitMs, 0), flushMsMax));
      });
      // The exporter has reported the failure.
      await Promise.race([provider.shutdown().catch(() => undefined), waited]);
      clearTimeout(timer);
    },
  };
}

const flushMsMax = 3000;

function finish(span: Span, attributes: Attributes, endMs: number): void {
  span.setAttributes(attributes);
  if (attributes["error.type"] !== undefined) span.setStatus({ code: SpanStatusCode.ERROR });
  span.end(endMs);
}

/** The parent context, from the caller's `traceparent`. */
function parentOf({ headers }: NodeRequest): Context {
  const caller = traceContextOf(headers);
  if (caller === undefined) return ROOT_CONTEXT;
  const { tracestate } = headers;
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId: caller.traceId,
    spanId: caller.spanId,
    traceFlags: caller.isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
    isRemote: true,
    ...(typeof tracestate === "string" && { traceState: createTraceState(tracestate) }),
  });
}

const tellIntervalMs = 300_000;

/** Logs failures to send, at most one in a while. */
function tellFailures(exporter: SpanExporter, logger: Logger): SpanExporter {
  let toldAtMs = -Infinity;
  let isTold = false;
  let lost = 0;
  return {
    export(spans, done) {
      exporter.export(spans, (result) => {
        done(result);
        if (result.error === undefined) {
          if (!isTold) return;
          logger.info({ event: "trace_export_recovered", lost }, "traces are sent again");
          isTold = false;
          lost = 0;
          return;
        }
        lost += spans.length;
        if (performance.now() - toldAtMs < tellIntervalMs) return;
        toldAtMs = performance.now();
        isTold = true;
        const { code, message } = result.error as Error & { code?: string | number };
        const reason = (code ?? message).toString().slice(0, 100);
        logger.warn({ event: "trace_export_failed", reason, lost }, "traces cannot be sent");
      });
    },
    shutdown: () => exporter.shutdown(),
  };
}
