/**
 * Log lines, audit events, metrics and traces behind one object: the rest of the code knows none of
 * them. Depends on auth, the server's types, the take-over's and the log.
 */
import { AuthError } from "../auth/errors.js";
import type { AttemptEvent } from "../auth/gate/gate.js";
import type { KeyEvent } from "../auth/keys/keys.js";
import type { AuthService } from "../auth/service.js";
import { LastHour, type HourCounts } from "./last-hour.js";
import type { Logs } from "./log.js";
import type { Refusal } from "../server/connections.js";
import type { AccessEntry } from "../server/handler.js";
import type { Store } from "../store/store.js";
import type { TakeoverEvent } from "../takeover/takeover.js";
import type { Metrics, MetricSnapshot, MetricSources, Observation } from "./metrics.js";
import { observeStore } from "./observed-store.js";
import type { Tracing } from "./tracing.js";

export interface Observer {
  readonly onAccess: (entry: AccessEntry) => void;
  readonly onFault: (error: unknown, requestId: string) => void;
  readonly onAttempt: (event: AttemptEvent) => void;
  readonly onRefused: (refusal: Refusal) => void;
  readonly onKeyEvent: (event: KeyEvent) => void;
  readonly onTakeoverEvent: (event: TakeoverEvent) => void;
  /** Called without an error when a new certificate is in use. */
  readonly onTlsReload: (error?: unknown) => void;
  observe(store: Store): Store;
  /** These return their argument unchanged if traces are off. */
  readonly observeHashes: Tracing["traceHashes"];
  readonly observeVerify: Tracing["traceVerify"] | undefined;
  readonly observeRequests: Tracing["traceRequests"];
  /** Wraps the service and counts its renewals. */
  observeService(service: AuthService): AuthService;
  /** Logins and renewals of the last hour, by outcome. */
  hour(): HourCounts;
  /** Loads what metrics need. Earlier events are counted too. */
  startMetrics(sources: Omit<MetricSources, "dropped">): Promise<void>;
  /** Empty until `startMetrics` has finished. */
  metrics(): Promise<MetricSnapshot>;
  /** Sends the remaining traces, for at most `waitMs`. */
  close(waitMs: number): Promise<void>;
}

export function createObserver(logs: Logs, tracing?: Tracing): Observer {
  const { logger, access, audit, dropped } = logs;
  let early: Observation[] = [];
  let metrics: Metrics | undefined;
  let outage: string | undefined;
  const hour = new LastHour(Date.now);
  function record(observation: Observation): void {
    if (metrics === undefined) early.push(observation);
    else metrics.record(observation);
  }

  return {
    onAccess(entry) {
      access(entry);
      record({ kind: "request", entry });
      tracing?.onAccess(entry);
    },
    onFault(error, requestId) {
      logger.error({ event: "fault", requestId, err: error }, "unexpected error");
    },
    onAttempt(event) {
      const { labels, ...fields } = event;
      audit({ event: "attempt", ...fields, ...labels });
      hour.count(event.reason);
      record({ kind: "attempt", event });
    },
    onRefused(refusal) {
      logger.info({ event: "refused", ...refusal });
      record({ kind: "refusal", refusal });
    },
    onKeyEvent(event) {
      const { type, ...details } = event;
      if (type === "refresh_failed") {
        logger.error({ event: type, err: event.error }, "the signing keys cannot be loaded");
      } else if (type === "refresh_recovered") {
        logger.info({ event: type }, "the signing keys are loaded again");
      } else if (type === "key_unreadable") {
        logger.error({ event: type, kid: event.kid, err: event.error }, "unreadable key");
      } else {
        audit({ event: type, ...details });
      }
      record({ kind: "key", event });
    },
    onTakeoverEvent(event) {
      switch (event.type) {
        case "lead":
          audit({ event: "takeover_lead", percent: event.percent });
          break;
        case "learnt":
          audit({ event: "takeover_learnt", userId: event.subject });
          break;
        case "breaker":
          logger.warn(
            { event: "takeover_breaker", state: event.state, cause: event.cause },
            breakerTexts[event.state],
          );
          break;
        case "question":
          // A cause that lasts is told once.
          if (event.cause !== undefined && event.cause !== outage) {
            logger.warn({ event: "takeover_unavailable", cause: event.cause });
          }
          outage = event.cause;
          break;
        case "failed":
          logger.warn({ event: "takeover_failed", err: event.error }, "tried again later");
      }
      record({ kind: "takeover", event });
    },
    onTlsReload(error) {
      if (error === undefined) {
        logger.info({ event: "tls_reloaded" }, "the TLS files have changed and are in use");
      } else {
        logger.error(
          { event: "tls_reload_failed", err: error },
          "the old TLS certificate stays in use",
        );
      }
      record({ kind: "tls_reload", outcome: error === undefined ? "ok" : "failed" });
    },
    observe: (store) =>
      observeStore(store, (call) => {
        record({ kind: "store", call });
        if (call.error) hour.count("store_failed");
        tracing?.onStoreCall(call);
      }),
    observeHashes: tracing?.traceHashes ?? ((queue) => queue),
    observeVerify: tracing?.traceVerify,
    observeRequests: tracing?.traceRequests ?? ((handler) => handler),
    observeService: (service) => ({
      ...service,
      issueToken(authorization, attempt) {
        const issued = service.issueToken(authorization, attempt);
        if (authorization !== undefined && bearer.test(authorization)) {
          issued.then(
            () => hour.countRenewal(undefined),
            (error: unknown) => hour.countRenewal(AuthError.from(error).code),
          );
        }
        return issued;
      },
    }),
    hour: () => hour.read(),
    async startMetrics(sources) {
      const { createMetrics } = await import("./metrics.js");
      metrics = createMetrics({ ...sources, dropped });
      early.forEach((observation) => metrics?.record(observation));
      early = [];
    },
    metrics: () => metrics?.snapshot() ?? Promise.resolve([]),
    close: (waitMs) => tracing?.close(waitMs) ?? Promise.resolve(),
  };
}

/** A Bearer token is a renewal; a password is an attempt. */
const bearer = /^bearer /i;

const breakerTexts = {
  open: "the old server counts as down",
  trying: "the old server is tried again",
  closed: "the old server answers again",
} as const;
