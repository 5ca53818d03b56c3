/**
 * The composition root: a configuration and a store in, a service that can be started and stopped
 * out. Nothing else knows which parts belong together.
 */
import { X509Certificate } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { AuthError } from "../auth/errors.js";
import { Gate, HashQueue } from "../auth/gate/gate.js";
import { createDecoyCensus } from "../auth/passwords/decoy-census.js";
import { unsealedWarning, type KeyClock, type KeyEvent } from "../auth/keys/keys.js";
import { createDecoy, hashPassword } from "../auth/passwords/passwords.js";
import { createRehasher, noRehasher } from "../auth/passwords/rehash.js";
import { createAuthService } from "../auth/service.js";
import { noThrottle } from "../auth/throttle/throttle.js";
import { createTokens, type TokenPolicy } from "../auth/tokens.js";
import { configWarnings, type Config } from "../config/config.js";
import { usernameKeyFor } from "../config/presets.js";
import { version } from "../config/version.js";
import { createDocumentRoutes } from "../gateway/documents.js";
import { createHomeRoute } from "../gateway/home-route.js";
import { createLoginRoute } from "../gateway/login-route.js";
import { createTokenRoute } from "../gateway/token-route.js";
import { createManagedKeys, type KeyMaterial } from "./key-material.js";
import { createPageRoutes, type DemoUser } from "./pages.js";
import type { Logs } from "../observability/log.js";
import type { MetricSnapshot } from "../observability/metrics.js";
import { createObserver } from "../observability/observer.js";
import type { ProcessStatus } from "../pages/status.js";
import type { Tracing } from "../observability/tracing.js";
import type { RpcHandler } from "../rpc/handler.js";
import { baseUrl } from "../server/base-url.js";
import {
  createClientAddressReader,
  createNetworkMatcher,
  networkOf,
} from "../server/client-address.js";
import { createRefusals, createRequestHandler } from "../server/handler.js";
import { createListener } from "../server/listener.js";
import { createManagementServer } from "../server/management.js";
import { createReadiness, type Readiness } from "../server/readiness.js";
import { watchTlsFiles } from "../server/tls.js";
import type { Store } from "../store/store.js";
import { createHashWidth } from "./hash-width.js";
import { createRevocationsRoute } from "./revocations.js";
import { countFamilies } from "./hash-sample.js";
import { createStatusPages, readStatus } from "./status.js";
import { createTakeover } from "./takeover.js";
import { watchStore } from "./store-watch.js";
import { createConfiguredThrottle } from "./throttling.js";

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
  const keys = createManagedKeys({ ...deps, store }, clock, onKeyEvent);
  const policy = tokenPolicyOf(config);
  const tokens = createTokens(policy, keys, clock);
  const throttle =
    createConfiguredThrottle(config, store, {
      ...(deps.clock && { clock: deps.clock }),
      checksMax: deps.quietHashConcurrency ?? config.HASH_CONCURRENCY,
    }) ?? noThrottle;
  const decoy = createDecoy(usernameKeyFor(config));
  const { HASH_CONCURRENCY } = config;
  const hashWidth = createHashWidth({
    busy: HASH_CONCURRENCY,
    quiet: deps.quietHashConcurrency ?? HASH_CONCURRENCY,
    now: () => clock.monotonic(),
  });
  const hashes = new HashQueue({
    concurrency: () => hashWidth.current(),
    waitingMax: config.HASH_QUEUE_MAX,
    now: () => clock.monotonic(),
  });
  const queue = observer.observeHashes(hashes);
  const hash = (password: string) => hashInTurn(queue, password);
  const takeover = createTakeover({
    ...{ config, store, keys, policy, tokens, decoy, queue, hash, clock },
    ca: keyMaterial.upstreamCa,
    onEvent: observer.onTakeoverEvent,
  });
  const users = takeover?.users ?? store.users;
  const families = countFamilies(users, () => clock.now());
  const census = createDecoyCensus({
    users: families.users,
    decoy,
    secret: () => store.secret(),
    onError: (error) => logger.warn({ event: "census_failed", err: error }, "no sample of hashes"),
  });
  const rehasher = config.REHASH
    ? createRehasher({
        users: store.users,
        hash,
        onError: onRehashError,
      })
    : noRehasher;
  const gate = new Gate({
    users,
    decoy,
    throttle,
    queue,
    rehasher,
    secondOpinion: takeover?.secondOpinion,
    onAttempt: observer.onAttempt,
    now: () => clock.monotonic(),
    observeVerify: observer.observeVerify,
  });
  const service = observer.observeService(
    createAuthService({ users, gate, tokens: hashWidth.noticing(tokens) }),
  );
  let rpc: RpcHandler | undefined;
  const servesRpc = (path: string) => rpc?.serves(path) ?? false;
  let loading: Promise<RpcHandler> | undefined;
  /** REST does without, and it takes a third of a start: so the service listens before. */
  const loadRpc = () =>
    (loading ??= import("../rpc/handler.js").then(({ authRoutes, createRpcHandler }) => {
      const { onFault } = observer;
      const { fastUnary = true } = deps;
      const routes = authRoutes(service, readiness, { reflection: config.REFLECTION });
      return (rpc = createRpcHandler({ routes, onFault, fastUnary }));
    }));
  const documents = [
    ...createDocumentRoutes(keys, config.TOKEN_ISSUER),
    ...(config.REVOCATIONS ? [createRevocationsRoute({ config, store, keys, clock })] : []),
  ];
  const documentPaths = documents.map(({ path }) => path);
  const { demoUser } = deps;
  const [apiPage, ...pages] = config.API_PAGE
    ? createPageRoutes({ config, documents: documentPaths, demoUser })
    : [];
  const tokenRoute = createTokenRoute(service, clock);
  const loginRoute = createLoginRoute(service, config.TOKEN_TTL, config.LEGACY_TIME_ZONE);
  const routes = [
    takeover?.route("token", tokenRoute) ?? tokenRoute,
    takeover?.route("login", loginRoute) ?? loginRoute,
    createHomeRoute(documentPaths, apiPage),
    ...documents,
    ...pages,
  ];
  const clientAddressOf = createClientAddressReader(config.TRUST_PROXY);
  const handler = createRequestHandler({
    routes,
    rpc: {
      serves: servesRpc,
      handle: (exchange, path) =>
        rpc ? rpc.handle(exchange, path) : loadRpc().then((rpc) => rpc.handle(exchange, path)),
    },
    corsOrigins: config.CORS_ORIGINS ?? [],
    cors: async () => (await loadRpc()).corsHeaders,
    clientAddressOf,
    onAccess: observer.onAccess,
    onFault: observer.onFault,
  });
  const scheme = keyMaterial.tls ? "https" : "http";
  const listener = createListener({
    host: config.HOST,
    port: config.PORT,
    handler: observer.observeRequests(handler, servesRpc, scheme),
    ...(keyMaterial.tls && { tls: keyMaterial.tls.material }),
    limits: { idleTimeoutMs: config.KEEP_ALIVE_TIMEOUT * 1000 },
    networkOf: connectionCounter(config),
    isShared: proxyMatcher(config),
    clientOf: (req) => networkOf(clientAddressOf(req)),
    isProxied: createNetworkMatcher(config.TRUST_PROXY_PROTOCOL ?? []),
    refusalOf: createRefusals(routes, (...request) => rpc?.refuse(...request)),
    onRefused: observer.onRefused,
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
        sample: families.look,
        hashLimits: { running: hashWidth.max, waiting: config.HASH_QUEUE_MAX },
        throttle: { isOn: config.THROTTLE_FAILURES > 0 },
        takeover: () => takeover?.state(),
      },
      startedAt,
    );

  function onRehashError(error: unknown): void {
    // Whoever logs in again when it is quieter gets it then.
    if (error instanceof AuthError && error.code === "overloaded") return;
    logger.warn({ event: "rehash_failed", err: error }, "a weak hash was not replaced");
  }

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

  function watchTls(): () => void {
    if (keyMaterial.tls === undefined) return () => undefined;
    return watchTlsFiles({
      files: keyMaterial.tls.files,
      current: keyMaterial.tls.material,
      reload(material) {
        listener.reloadTls(material);
        certificateEnd = endOf(material.cert);
        observer.onTlsReload();
      },
      onError: observer.onTlsReload,
      ...(deps.tlsIntervalMs !== undefined && { intervalMs: deps.tlsIntervalMs }),
    });
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

  let certificateEnd = keyMaterial.tls && endOf(keyMaterial.tls.material.cert);
  let unwatchTls = (): void => undefined;
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
      url = baseUrl(await listener.listen(), scheme);
      await takeover?.start();
      unwatchTls = watchTls();
      if (management) {
        managementUrl = await management.listen(config.MANAGEMENT_PORT, config.MANAGEMENT_HOST);
        logger.info({ event: "started", url, managementUrl, version }, "serving");
      }
      const sampled = census.start();
      const refreshed = keys.refresh();
      // Looked at below: a store that is down keeps nothing else from being loaded.
      refreshed.catch(() => undefined);
      const { paths } = await loadRpc();
      await observer.startMetrics({
        version,
        routes: [...routes.map(({ path }) => path), ...paths],
        hashes: () => hashes.depth(),
        keys: () => keys.status(),
        connections: () => listener.connections(),
        isReady: () => readiness.isReady(),
        takeover: takeover && (() => takeover.state()),
        certificateEnd: () => certificateEnd,
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
      await throttle.open();
    },
    async close() {
      readiness.set("shutdown", "draining");
      if (url !== "") await sleep(config.SHUTDOWN_DELAY * 1000);
      rpc?.endStreams();
      const graceMs = config.SHUTDOWN_GRACE * 1000;
      const drainMs = performance.now();
      await listener.drain(graceMs);
      census.stop();
      await rehasher.settled();
      await takeover?.stop();
      unwatchTls();
      unwatchStore();
      await throttle.close();
      await keys.stop();
      await observer.close(drainMs + graceMs - performance.now());
      await management?.close();
    },
  };
}

/** What an open connection is counted by; those of a trusted proxy, which are everybody's, by nothing. */
function connectionCounter(config: Config) {
  const isShared = proxyMatcher(config);
  const exempt = createNetworkMatcher(config.THROTTLE_EXEMPT_NETWORKS ?? []);
  return (remoteAddress: string) =>
    isShared(remoteAddress) || exempt(remoteAddress) ? undefined : networkOf(remoteAddress);
}

/** Whether an address is a trusted proxy's. */
function proxyMatcher({ TRUST_PROXY }: Config): (address: string) => boolean {
  if (typeof TRUST_PROXY === "number") return () => TRUST_PROXY > 0;
  return createNetworkMatcher(TRUST_PROXY ?? []);
}

/** A new hash, computed within the bound that holds for logins. */
async function hashInTurn(queue: Pick<HashQueue, "enter">, password: string): Promise<string> {
  const place = queue.enter("rehash", undefined);
  try {
    return await place.run(() => hashPassword(password));
  } finally {
    place.leave();
  }
}

function tokenPolicyOf(config: Config): TokenPolicy {
  return {
    type: config.TOKEN_TYPE,
    issuer: config.TOKEN_ISSUER,
    audience: config.TOKEN_AUDIENCE,
    ttlSeconds: config.TOKEN_TTL,
    leewaySeconds: config.TOKEN_LEEWAY,
    maxSessionSeconds: config.TOKEN_MAX_SESSION,
  };
}

/** When a certificate ends, in seconds since the epoch. */
const endOf = (certificate: string) => Date.parse(new X509Certificate(certificate).validTo) / 1000;
