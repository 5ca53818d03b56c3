/**
 * The metrics page. No label has a value that a client can choose: routes are the served ones,
 * outcomes and reasons are fixed words. Depends on auth, the server's types and prom-client, which
 * is slow to load: the observer imports this file once the service listens.
 */
import {
  AggregatorRegistry,
  collectDefaultMetrics,
  Counter,
  Gauge,
  Histogram,
  Registry,
} from "prom-client";
import { errorAnswers } from "../auth/errors.js";
import type { AttemptEvent, AttemptReason, Surface } from "../auth/gate/gate.js";
import type { KeyEvent, ManagedKeys } from "../auth/keys/keys.js";
import type { KeyStore } from "../auth/keys/keys.js";
import type { ThrottleStore } from "../auth/throttle/throttle.js";
import type { UserStore } from "../auth/users.js";
import type { Refusal } from "../server/connections.js";
import type { AccessEntry } from "../server/handler.js";
import type { BreakerState, TakeoverEvent } from "../takeover/takeover.js";
import type { StoreCall } from "./observed-store.js";
import { outcomeOf } from "./outcome.js";

/** An event to count. */
export type Observation =
  | { readonly kind: "request"; readonly entry: AccessEntry }
  | { readonly kind: "attempt"; readonly event: AttemptEvent }
  | { readonly kind: "store"; readonly call: StoreCall }
  | { readonly kind: "refusal"; readonly refusal: Refusal }
  | { readonly kind: "key"; readonly event: KeyEvent }
  | { readonly kind: "takeover"; readonly event: TakeoverEvent }
  | { readonly kind: "tls_reload"; readonly outcome: "ok" | "failed" };

/** Values that are read when the page is requested. */
export interface MetricSources {
  readonly version: string;
  /** The served paths. */
  readonly routes: readonly string[];
  hashes(): { readonly running: number; readonly waiting: number };
  keys(): ReturnType<ManagedKeys["status"]>;
  connections(): number;
  isReady(): boolean;
  /** Lines lost by the log and the audit log. */
  dropped(): { readonly log: number; readonly audit: number };
  /** The end of the TLS certificate's validity, in seconds since the epoch. */
  certificateEnd(): number | undefined;
  /** The state of the take-over, if there is one. */
  readonly takeover?:
    | (() => { readonly lead: number | undefined; readonly breaker: BreakerState } | undefined)
    | undefined;
}

/** Metrics as data, which another process can add up. */
export type MetricSnapshot = Awaited<ReturnType<Registry["getMetricsAsJSON"]>>;

export interface MetricsPage {
  readonly contentType: string;
  readonly body: string;
}

export interface Metrics {
  record(observation: Observation): void;
  snapshot(): Promise<MetricSnapshot>;
}

/** The keys of a table. The compiler checks that the table covers the type. */
const namesOf = <T extends string>(table: Readonly<Record<T, 0>>) => Object.keys(table) as T[];

/** The outcomes that every route can have. Others, such as `http_404`, are made by clients. */
const outcomes = ["ok", "aborted", ...Object.keys(errorAnswers)];
const surfaces = namesOf<Surface>({
  rpc_login: 0,
  rpc_issue_token: 0,
  rest_login: 0,
  rest_token: 0,
});
const attemptReasons = namesOf<AttemptReason>({
  accepted: 0,
  unknown_user: 0,
  wrong_password: 0,
  disabled: 0,
  no_usable_hash: 0,
  throttled_by_username_and_network: 0,
  throttled_by_username: 0,
  throttled_by_network: 0,
  overloaded: 0,
  store_unavailable: 0,
  aborted: 0,
  internal: 0,
});
const refusalReasons = namesOf<Refusal["reason"]>({
  connections: 0,
  streams: 0,
  header_size: 0,
  slow_request: 0,
  slow_reader: 0,
  malformed: 0,
  flood: 0,
  tls: 0,
});
const keyEventTypes = namesOf<KeyEvent["type"]>({
  key_generated: 0,
  key_published: 0,
  key_signing: 0,
  key_retired: 0,
  key_removed: 0,
  key_revoked: 0,
  key_imported: 0,
  keys_resealed: 0,
  key_unreadable: 0,
  refresh_failed: 0,
  refresh_recovered: 0,
});
const questionOutcomes = namesOf<Extract<TakeoverEvent, { type: "question" }>["outcome"]>({
  yes: 0,
  no: 0,
  unaskable: 0,
  unavailable: 0,
});
/** The methods that return a promise: only those are timed. */
const storeOperations = [
  ...namesOf<Exclude<keyof UserStore, "list" | "records">>({
    findByUsername: 0,
    findBySubject: 0,
    add: 0,
    import: 0,
    update: 0,
    replacePasswordHash: 0,
    remove: 0,
    existing: 0,
    sampleHashes: 0,
  }).map((method) => `users.${method}`),
  ...namesOf<keyof KeyStore>({ load: 0, save: 0 }).map((method) => `keys.${method}`),
  ...namesOf<Exclude<keyof ThrottleStore, "list" | "now">>({ read: 0, write: 0 }).map(
    (method) => `throttle.${method}`,
  ),
];

const requestSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export function createMetrics(sources: MetricSources): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });

  const requests = new Counter({
    name: "latchkey_requests_total",
    help: "Requests answered, by route and outcome (ok, a domain code, http_STATUS or aborted).",
    labelNames: ["route", "outcome"],
    registers,
  });
  const durations = new Histogram({
    name: "latchkey_request_duration_seconds",
    help: "Time from a request's headers to the end of its answer.",
    labelNames: ["route"],
    buckets: requestSeconds,
    registers,
  });
  const attempts = new Counter({
    name: "latchkey_login_attempts_total",
    help: "Password checks by surface and reason; throttled_by_… are the throttle's refusals.",
    labelNames: ["surface", "reason"],
    registers,
  });
  const hashWaits = new Histogram({
    name: "latchkey_hash_wait_seconds",
    help: "Time from a login's arrival to the start of its hash, throttle and store included.",
    buckets: requestSeconds,
    registers,
  });
  const storeSeconds = new Histogram({
    name: "latchkey_store_duration_seconds",
    help: "Time of a call to the store.",
    labelNames: ["operation"],
    buckets: requestSeconds,
    registers,
  });
  const storeErrors = new Counter({
    name: "latchkey_store_errors_total",
    help: "Calls to the store that failed.",
    labelNames: ["operation"],
    registers,
  });
  const refusals = new Counter({
    name: "latchkey_refusals_total",
    help: "Connections and requests refused before they reached a route.",
    labelNames: ["reason"],
    registers,
  });
  const keyEvents = new Counter({
    name: "latchkey_key_events_total",
    help: "What this process did to signing keys, and its failures to load them.",
    labelNames: ["type"],
    registers,
  });
  const tlsReloads = new Counter({
    name: "latchkey_tls_reloads_total",
    help: "Changes of the TLS files, by whether they could be used.",
    labelNames: ["outcome"],
    registers,
  });

  const questions = new Counter({
    name: "latchkey_takeover_questions_total",
    help: "Logins about which the old server was asked, by what it said.",
    labelNames: ["outcome"],
    registers: sources.takeover ? registers : [],
  });
  const learnt = new Counter({
    name: "latchkey_takeover_learnt_total",
    help: "Passwords learnt from the old server.",
    registers: sources.takeover ? registers : [],
  });

  // Sets a counter to 0 for each label: otherwise an alarm on an increase would miss the first
  // event.
  const zero = (metric: Counter | Histogram, labels: readonly Record<string, string>[]) =>
    labels.forEach((each) =>
      metric instanceof Histogram ? metric.zero(each) : metric.inc(each, 0),
    );
  const both = (first: string, seconds: readonly string[], ...names: [string, string]) =>
    seconds.map((second) => ({ [names[0]]: first, [names[1]]: second }));
  const routes = [...sources.routes, "unknown"];
  zero(
    requests,
    routes.flatMap((route) => both(route, outcomes, "route", "outcome")),
  );
  zero(
    attempts,
    surfaces.flatMap((surface) => both(surface, attemptReasons, "surface", "reason")),
  );
  zero(
    durations,
    routes.map((route) => ({ route })),
  );
  for (const metric of [storeErrors, storeSeconds]) {
    zero(
      metric,
      storeOperations.map((operation) => ({ operation })),
    );
  }
  zero(
    refusals,
    refusalReasons.map((reason) => ({ reason })),
  );
  zero(
    keyEvents,
    keyEventTypes.map((type) => ({ type })),
  );
  zero(
    questions,
    questionOutcomes.map((outcome) => ({ outcome })),
  );
  zero(tlsReloads, [{ outcome: "ok" }, { outcome: "failed" }]);

  new Gauge({
    name: "latchkey_build_info",
    help: "1, with the version of Latchkey as label.",
    labelNames: ["version"],
    aggregator: "max",
    registers,
  }).set({ version: sources.version }, 1);
  gauge("latchkey_hashes_running", "Password hashes that run.", () => sources.hashes().running);
  gauge("latchkey_hashes_waiting", "Logins that wait for a hash.", () => sources.hashes().waiting);
  gauge("latchkey_connections", "Open connections of the public port.", () =>
    sources.connections(),
  );
  gauge("latchkey_ready", "1 while /readyz says so.", () => Number(sources.isReady()), "min");
  gauge(
    "latchkey_key_next_step_seconds",
    "Time until a managed key changes its state by itself; absent while there is none.",
    () => sources.keys().secondsUntilNextStep,
    "min",
  );
  gauge(
    "latchkey_tls_certificate_end_seconds",
    "When the TLS certificate ends, in seconds since the epoch; absent without TLS.",
    () => sources.certificateEnd(),
    "min",
  );
  new Gauge({
    name: "latchkey_keys",
    help: "Managed keys by state.",
    labelNames: ["state"],
    aggregator: "max",
    registers,
    collect() {
      for (const [state, count] of Object.entries(sources.keys().keys)) this.set({ state }, count);
    },
  });
  new Counter({
    name: "latchkey_log_lines_dropped_total",
    help: "Lines lost because their sink was full or failed.",
    labelNames: ["stream"],
    registers,
    collect() {
      this.reset();
      for (const [stream, count] of Object.entries(sources.dropped())) this.inc({ stream }, count);
    },
  });

  if (sources.takeover) {
    const { takeover } = sources;
    gauge(
      "latchkey_takeover_lead",
      "Per cent of the usernames that Latchkey answers itself; absent while that is not known.",
      () => takeover()?.lead,
      "min",
    );
    gauge("latchkey_takeover_breaker_open", "Processes for which the old server is down.", () =>
      Number((takeover()?.breaker ?? "closed") !== "closed"),
    );
  }

  function gauge(
    name: string,
    help: string,
    read: () => number | undefined,
    aggregator: "sum" | "min" = "sum",
  ): void {
    const collect = function (this: Gauge) {
      const value = read();
      if (value === undefined) this.remove();
      else this.set(value);
    };
    new Gauge({ name, help, aggregator, registers, collect });
  }

  return {
    record(observation) {
      switch (observation.kind) {
        case "request": {
          const { route, durationMs } = observation.entry;
          requests.inc({ route, outcome: outcomeOf(observation.entry) });
          durations.observe({ route }, durationMs / 1000);
          break;
        }
        case "attempt": {
          const { surface, reason, waitedMs } = observation.event;
          attempts.inc({ surface, reason });
          if (waitedMs !== undefined) hashWaits.observe(waitedMs / 1000);
          break;
        }
        case "store": {
          const { operation, durationMs, error } = observation.call;
          storeSeconds.observe({ operation }, durationMs / 1000);
          if (error) storeErrors.inc({ operation });
          break;
        }
        case "refusal":
          refusals.inc({ reason: observation.refusal.reason });
          break;
        case "key":
          keyEvents.inc({ type: observation.event.type });
          break;
        case "takeover":
          if (observation.event.type === "question") {
            questions.inc({ outcome: observation.event.outcome });
          } else if (observation.event.type === "learnt") learnt.inc();
          break;
        case "tls_reload":
          tlsReloads.inc({ outcome: observation.outcome });
      }
    },
    snapshot: () => registry.getMetricsAsJSON(),
  };
}

/** Formats the sum of the metrics of one or several processes. */
export async function formatMetrics(snapshots: readonly MetricSnapshot[]): Promise<MetricsPage> {
  const registry = AggregatorRegistry.aggregate([...snapshots]);
  return { contentType: registry.contentType, body: await registry.metrics() };
}

/** Adds up the counters of two snapshots, so that sums do not shrink when a process ends. */
export async function sumCounters(a: MetricSnapshot, b: MetricSnapshot): Promise<MetricSnapshot> {
  const counters = [a, b].map((metrics) =>
    metrics.filter(({ type }) => ["counter", "histogram"].includes(String(type))),
  );
  return AggregatorRegistry.aggregate(counters).getMetricsAsJSON();
}
