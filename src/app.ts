/**
 * The composition root: a configuration and a store in, a service that can be started and stopped
 * out. Nothing else knows which parts belong together.
 */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { AuthError } from "./auth/errors.js";
import { createGate } from "./auth/gate.js";
import { createHashQueue } from "./auth/hash-queue.js";
import type { KeyEvent } from "./auth/key-events.js";
import { unsealedWarning } from "./auth/key-sealing.js";
import { ManagedKeys } from "./auth/managed-keys.js";
import { createDecoy } from "./auth/passwords.js";
import type { KeyClock } from "./auth/ring-replica.js";
import { generateRsaKey } from "./auth/rsa-keys.js";
import { createAuthService } from "./auth/service.js";
import { createThrottle, noThrottle } from "./auth/throttle.js";
import { createTokens, type TokenPolicy } from "./auth/tokens.js";
import type { Config } from "./config.js";
import { createDocumentRoutes } from "./gateway/documents.js";
import { createLoginRoute } from "./gateway/login-route.js";
import { createTokenRoute } from "./gateway/token-route.js";
import type { KeyMaterial } from "./key-material.js";
import type { Logger } from "./log.js";
import { authRoutes, corsHeaders, createRpcHandler } from "./rpc/handler.js";
import {
  createClientAddressReader,
  createExemption,
  createNetworkMatcher,
  networkOf,
} from "./server/client-address.js";
import { createRequestHandler } from "./server/handler.js";
import { createListener } from "./server/listener.js";
import { createManagementServer } from "./server/management.js";
import { createReadiness } from "./server/readiness.js";
import { watchTlsFiles } from "./server/tls.js";
import type { Store } from "./store/index.js";

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
  /** Base URL of the management port, once started. */
  readonly managementUrl: string;
}

export interface AppDeps {
  readonly config: Config;
  readonly store: Store;
  readonly keyMaterial: KeyMaterial;
  readonly logger: Logger;
  readonly clock?: KeyClock;
  /** How often the TLS files are looked at. Default 10 s. */
  readonly tlsIntervalMs?: number;
}

const systemClock: KeyClock = { now: () => Date.now(), monotonic: () => performance.now() };

export function createApp(deps: AppDeps): App {
  const { config, store, keyMaterial, logger, clock = systemClock } = deps;
  const readiness = createReadiness({ keys: "not loaded yet" });
  const keys = createKeys(deps, clock, onKeyEvent);
  const tokens = createTokens(tokenPolicyOf(config), keys, clock);
  const throttle = createThrottleOf(deps, clock);
  const gate = createGate({
    users: store.users,
    decoy: createDecoy(),
    throttle,
    queue: createHashQueue({
      concurrency: () => config.HASH_CONCURRENCY,
      waitingMax: config.HASH_QUEUE_MAX,
      now: () => clock.monotonic(),
    }),
    onAttempt: (attempt) => logger.info({ event: "attempt", ...attempt }),
  });
  const service = createAuthService({ users: store.users, gate, tokens });
  const listener = createListener({
    host: config.HOST,
    port: config.PORT,
    handler: createRequestHandler({
      routes: [
        createTokenRoute(service, clock),
        createLoginRoute(service, config.TOKEN_TTL, config.LEGACY_TIME_ZONE),
        ...createDocumentRoutes(keys, config.TOKEN_ISSUER),
      ],
      rpc: createRpcHandler({ routes: authRoutes(service, readiness), onFault }),
      corsOrigins: config.CORS_ORIGINS ?? [],
      cors: corsHeaders,
      clientAddressOf: createClientAddressReader(config.TRUST_PROXY),
      onAccess: (entry) => logger.info({ event: "request", ...entry }),
      onFault,
    }),
    ...(keyMaterial.tls && { tls: keyMaterial.tls.material }),
    networkOf: connectionCounter(config),
    onRefused: (refusal) => logger.info({ event: "refused", ...refusal }),
  });
  const management = createManagementServer(readiness);

  function onFault(error: unknown, requestId: string): void {
    logger.error({ event: "fault", requestId, err: error }, "unexpected error");
  }

  function onKeyEvent(event: KeyEvent): void {
    if (event.type === "refresh_failed") {
      readiness.set("keys", "the store does not answer");
      logger.error({ event: event.type, err: event.error }, "the signing keys cannot be loaded");
    } else if (event.type === "refresh_recovered") {
      readiness.set("keys", undefined);
      logger.info({ event: event.type }, "the signing keys are loaded again");
      void warnOfStore();
    } else if (event.type === "key_unreadable") {
      logger.error({ event: event.type, kid: event.kid, err: event.error }, "unreadable key");
    } else {
      logger.info({ event: event.type, ...("kid" in event && { kid: event.kid }) }, "keys changed");
    }
  }

  function watchTls(): () => void {
    if (keyMaterial.tls === undefined) return () => undefined;
    return watchTlsFiles({
      files: keyMaterial.tls.files,
      current: keyMaterial.tls.material,
      reload(material) {
        listener.reloadTls(material);
        logger.info({ event: "tls_reloaded" }, "the TLS files have changed and are in use");
      },
      onError: (err) =>
        logger.error({ event: "tls_reload_failed", err }, "the old TLS certificate stays in use"),
      ...(deps.tlsIntervalMs !== undefined && { intervalMs: deps.tlsIntervalMs }),
    });
  }

  async function warnOfStore(): Promise<void> {
    try {
      (await store.warnings()).forEach(warn);
    } catch (error) {
      logger.warn({ event: "store_unchecked", err: error }, "the store could not be checked");
    }
  }
  const warn = (text: string) => logger.warn({ event: "setup" }, text);

  let unwatchTls = (): void => undefined;
  let url = "";
  let managementUrl = "";
  return {
    get url() {
      return url;
    },
    get managementUrl() {
      return managementUrl;
    },
    async start() {
      keyMaterial.warnings.forEach(warn);
      if (!keyMaterial.signing && !config.KEY_ENCRYPTION_KEY) warn(unsealedWarning);
      if (config.THROTTLE_FAILURES === 0) {
        warn("THROTTLE_FAILURES is 0: passwords can be guessed without limit");
      }
      url = baseUrl(await listener.listen(), keyMaterial.tls && "https");
      unwatchTls = watchTls();
      management.listen(config.MANAGEMENT_PORT, config.MANAGEMENT_HOST);
      await once(management, "listening");
      managementUrl = baseUrl(management.address() as AddressInfo);
      logger.info({ event: "started", url, managementUrl }, "serving");
      try {
        await keys.refresh();
        readiness.set("keys", undefined);
        await warnOfStore();
      } catch (error) {
        // A store that is down has been told of, and is tried again. The rest is for the operator.
        if (!(error instanceof AuthError)) throw error;
      }
      keys.start();
      await throttle.open();
    },
    async close() {
      readiness.set("shutdown", "draining");
      if (managementUrl !== "") await sleep(config.SHUTDOWN_DELAY * 1000);
      await listener.drain(config.SHUTDOWN_GRACE * 1000);
      unwatchTls();
      await throttle.close();
      await keys.stop();
      management.closeAllConnections();
      management.close();
      await once(management, "close");
    },
  };
}

function createKeys(
  { config, store, keyMaterial }: AppDeps,
  clock: KeyClock,
  onEvent: (event: KeyEvent) => void,
): ManagedKeys {
  return new ManagedKeys({
    store: store.keys,
    clock,
    intervalSeconds: config.KEY_ROTATION_INTERVAL,
    tokenSeconds: config.TOKEN_TTL + config.TOKEN_LEEWAY,
    encryptionKeys: config.KEY_ENCRYPTION_KEY ?? [],
    generateKey: () => generateRsaKey(config.SIGNING_KEY_BITS),
    signingFileKey: keyMaterial.signing,
    trustedFileKeys: keyMaterial.trusted,
    onEvent,
  });
}

function createThrottleOf({ config, store }: AppDeps, clock: KeyClock) {
  if (config.THROTTLE_FAILURES === 0) return noThrottle;
  return createThrottle({
    store: store.throttle,
    limits: {
      failures: config.THROTTLE_FAILURES,
      userFailures: config.THROTTLE_USER_FAILURES,
      networkFailures: config.THROTTLE_NETWORK_FAILURES,
      windowSeconds: config.THROTTLE_WINDOW,
    },
    isExempt: createExemption(config.THROTTLE_EXEMPT_NETWORKS ?? []),
    ignoreAccents: false,
    clock,
  });
}

/** What an open connection is counted by; those of a trusted proxy, which are everybody's, by nothing. */
function connectionCounter({ TRUST_PROXY, THROTTLE_EXEMPT_NETWORKS }: Config) {
  const proxies = Array.isArray(TRUST_PROXY) ? createNetworkMatcher(TRUST_PROXY) : () => false;
  const exempt = createNetworkMatcher(THROTTLE_EXEMPT_NETWORKS ?? []);
  return (remoteAddress: string) => {
    const isShared = typeof TRUST_PROXY === "number" || proxies(remoteAddress);
    return isShared || exempt(remoteAddress) ? undefined : networkOf(remoteAddress);
  };
}

function tokenPolicyOf(config: Config): TokenPolicy {
  return {
    issuer: config.TOKEN_ISSUER,
    audience: config.TOKEN_AUDIENCE,
    ttlSeconds: config.TOKEN_TTL,
    leewaySeconds: config.TOKEN_LEEWAY,
    maxSessionSeconds: config.TOKEN_MAX_SESSION,
  };
}

function baseUrl({ address, family, port }: AddressInfo, scheme = "http"): string {
  return `${scheme}://${family === "IPv6" ? `[${address}]` : address}:${port}`;
}
