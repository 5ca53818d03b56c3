/**
 * The composition root: makes a service from a configuration and a store, and fixes the order of
 * its start and stop. The neighbours make the parts. Depends on all rooms but the command line.
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
  /**
   * Opens both ports and starts the background work.
   * @throws the system's error if a port cannot be opened
   */
  start(): Promise<void>;
  /**
   * Reports "not ready" but serves for `SHUTDOWN_DELAY`, then finishes open requests within
   * `SHUTDOWN_GRACE` and stops. Leaves the store open.
   */
  close(): Promise<void>;
  /** Base URL of the public port, once started. */
  readonly url: string;
  /** Base URL of the management port, once started; empty without one. */
  readonly managementUrl: string;
  readonly readiness: Readiness;
  /** The data of the management port's pages. */
  metrics(): Promise<MetricSnapshot>;
  status(): ProcessStatus;
}

export interface AppDeps {
  readonly config: Config;
  readonly store: Store;
  readonly keyMaterial: KeyMaterial;
  readonly logs: Logs;
  /** Closed with the app. Without it no traces are made. */
  readonly tracing?: Tracing | undefined;
  readonly clock?: KeyClock;
  /** Whether unary rpcs are answered by `rpc/unary.ts`; if false, by Connect. Default true. */
  readonly fastUnary?: boolean;
  /** Whether to open the management port. False in a worker: the primary opens it. Default true. */
  readonly hasManagementPort?: boolean;
  /** Maximum of concurrent hashes while no token is renewed. Default `HASH_CONCURRENCY`. */
  readonly quietHashConcurrency?: number;
  /** Hashes a password to be stored. Default: Latchkey's argon2id. A cheaper one lets a test have many users. */
  readonly newHash?: (password: string) => Promise<string>;
  /** The user that the API page fills into its forms. The password is public. */
  readonly demoUser?: DemoUser;
  /** How often the TLS files are read. Default 10 s. */
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
    newHash: deps.newHash,
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
        takeover: () => takeover?.status(),
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
      // Awaited below, so that a store that is down does not delay the loading.
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
        // The key set logs an outage of the store and tries again. Any other error ends the start.
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
