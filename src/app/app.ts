/**
 * The composition root: a configuration and a store in, a service that can be started and stopped
 * out. What belongs together is in its neighbours; here is the order. Depends on all rooms but the command line.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { AuthError } from "../auth/errors.js";
import { unsealedWarning, type KeyClock, type KeyEvent } from "../auth/keys/keys.js";
import { configWarnings, type Config } from "../config/config.js";
import { version } from "../config/version.js";
import type { Logs } from "../observability/log.js";
import type { MetricSnapshot } from "../observability/metrics.js";
import { createObserver } from "../observability/observer.js";
import type { Tracing } from "../observability/tracing.js";
import type { ProcessStatus } from "../pages/status.js";
import { createManagementServer } from "../server/management.js";
import { createReadiness, type Readiness } from "../server/readiness.js";
import type { Store } from "../store/store.js";
import { createDomain } from "./domain.js";
import type { KeyMaterial } from "./key-material.js";
import type { DemoUser } from "./pages.js";
import { createPublicPort } from "./public-port.js";
import { createStatusPages, readStatus } from "./status.js";
import { watchStore } from "./store-watch.js";

export interface App {
  /** Opens both ports and starts the work in the background. @throws the system's error. */
  start(): Promise<void>;
  /**
   * Is not ready but serves for `SHUTDOWN_DELAY`, then finishes what is in flight within
   * `SHUTDOWN_GRACE` and stops. The store stays open.
   */
  close(): Promise<void>;
  /** Base URL of the public port, once started. */
  readonly url: string;
  /** Base URL of the management port, once started; empty without one. */
  readonly managementUrl: string;
  readonly readiness: Readiness;
  /** What the management port shows, as data. */
  metrics(): Promise<MetricSnapshot>;
  status(): ProcessStatus;
}

export interface AppDeps {
  readonly config: Config;
  readonly store: Store;
  readonly keyMaterial: KeyMaterial;
  readonly logs: Logs;
  /** Closed with the app. Without it nothing is traced. */
  readonly tracing?: Tracing | undefined;
  readonly clock?: KeyClock;
  /** False for tests that hold our unary rpcs against Connect's own: see rpc/unary. */
  readonly fastUnary?: boolean;
  /** False for one of several workers, whose primary has it. Default true. */
  readonly hasManagementPort?: boolean;
  /** Most hashes at once while no token is renewed. Default `HASH_CONCURRENCY`. */
  readonly quietHashConcurrency?: number;
  /** Whom the API page fills in: everybody knows his password. */
  readonly demoUser?: DemoUser;
  /** How often the TLS files are looked at. Default 10 s. */
  readonly tlsIntervalMs?: number;
}

const systemClock: KeyClock = { now: () => Date.now(), monotonic: () => performance.now() };

export function createApp(deps: AppDeps): App {
  const { config, keyMaterial, logs, clock = systemClock, hasManagementPort = true } = deps;
  const { logger } = logs;
  const observer = createObserver(logs, deps.tracing);
  const store = observer.observe(deps.store);
  const readiness = createReadiness({ keys: "not loaded yet" });
  const domain = createDomain({
    ...{ config, store, keyMaterial, observer, logger, clock, onKeyEvent },
    throttleClock: deps.clock,
    quietHashConcurrency: deps.quietHashConcurrency ?? config.HASH_CONCURRENCY,
  });
  const { keys, takeover, hashes } = domain;
  const publicPort = createPublicPort({
    ...{ config, store, domain, readiness, observer, clock },
    tls: keyMaterial.tls,
    fastUnary: deps.fastUnary ?? true,
    demoUser: deps.demoUser,
    tlsIntervalMs: deps.tlsIntervalMs,
  });
  const management = hasManagementPort
    ? createManagementServer({
        ...{ readiness, metrics: metricsPage },
        page: createStatusPages(() => Promise.resolve([status()]), readiness),
      })
    : undefined;

  const startedAt = clock.now();
  const status = () =>
    readStatus(
      {
        keys,
        hour: () => observer.hour(),
        hashes: () => hashes.depth(),
        sample: domain.families.look,
        hashLimits: { running: domain.hashesMax, waiting: config.HASH_QUEUE_MAX },
        throttle: { isOn: config.THROTTLE_FAILURES > 0 },
        takeover: () => takeover?.state(),
      },
      startedAt,
    );

  function onKeyEvent(event: KeyEvent): void {
    observer.onKeyEvent(event);
    if (event.type === "refresh_failed") {
      readiness.set("keys", "the store does not answer");
    } else if (event.type === "refresh_recovered") {
      readiness.set("keys", undefined);
      void warnOfStore();
    }
  }

  async function metricsPage() {
    const { formatMetrics } = await import("../observability/metrics.js");
    return formatMetrics([await observer.metrics()]);
  }

  function onStoreChange(error: unknown): void {
    readiness.set("store", error === undefined ? undefined : "the store cannot be written");
    if (error === undefined) logger.info({ event: "store_recovered" }, "the store can be written");
    else logger.error({ event: "store_failed", err: error }, "the store cannot be written");
  }

  async function warnOfStore(): Promise<void> {
    try {
      (await store.warnings()).forEach(warn);
    } catch (error) {
      logger.warn({ event: "store_unchecked", err: error }, "the store could not be checked");
    }
  }
  const warn = (text: string) => logger.warn({ event: "setup" }, text);

  let unwatchStore = (): void => undefined;
  let url = "";
  let managementUrl = "";
  return {
    readiness,
    metrics: () => observer.metrics(),
    status,
    get url() {
      return url;
    },
    get managementUrl() {
      return managementUrl;
    },
    async start() {
      [...configWarnings(config), ...keyMaterial.warnings].forEach(warn);
      if (!keyMaterial.signing && !config.KEY_ENCRYPTION_KEY) warn(unsealedWarning);
      if (config.THROTTLE_FAILURES === 0) {
        warn("THROTTLE_FAILURES is 0: passwords can be guessed without limit");
      }
      url = await publicPort.open();
      await takeover?.start();
      if (management) {
        managementUrl = await management.listen(config.MANAGEMENT_PORT, config.MANAGEMENT_HOST);
        logger.info({ event: "started", url, managementUrl, version }, "serving");
      }
      const sampled = domain.census.start();
      const refreshed = keys.refresh();
      // Looked at below: a store that is down keeps nothing else from being loaded.
      refreshed.catch(() => undefined);
      const paths = await publicPort.load();
      await observer.startMetrics({
        version,
        routes: paths,
        hashes: () => hashes.depth(),
        keys: () => keys.status(),
        connections: publicPort.connections,
        isReady: () => readiness.isReady(),
        takeover: takeover && (() => takeover.state()),
        certificateEnd: publicPort.certificateEnd,
      });
      try {
        await refreshed;
        readiness.set("keys", undefined);
        await sampled;
        await warnOfStore();
      } catch (error) {
        // A store that is down has been told of, and is tried again. The rest is for the operator.
        if (!(error instanceof AuthError)) throw error;
      }
      keys.start();
      unwatchStore = watchStore(deps.store, onStoreChange);
      await domain.throttle.open();
    },
    async close() {
      readiness.set("shutdown", "draining");
      if (url !== "") await sleep(config.SHUTDOWN_DELAY * 1000);
      const graceMs = config.SHUTDOWN_GRACE * 1000;
      const drainMs = performance.now();
      await publicPort.drain(graceMs);
      unwatchStore();
      await domain.close();
      await observer.close(drainMs + graceMs - performance.now());
      await management?.close();
    },
  };
}
