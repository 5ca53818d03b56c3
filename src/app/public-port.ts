/**
 * The public port: REST, rpcs, documents and pages on one listener. Reloads its TLS files when they
 * change. Depends on config, gateway, observability, rpc, server and its neighbours.
 */
import { X509Certificate } from "node:crypto";
import type { KeyClock } from "../auth/keys/keys.js";
import type { Config } from "../config/config.js";
import { createDocumentRoutes } from "../gateway/documents.js";
import { createHomeRoute } from "../gateway/home-route.js";
import { createLoginRoute } from "../gateway/login-route.js";
import { createTokenRoute } from "../gateway/token-route.js";
import type { Observer } from "../observability/observer.js";
import type { RpcHandler } from "../rpc/handler.js";
import { baseUrl } from "../server/base-url.js";
import {
  createClientAddressReader,
  createNetworkMatcher,
  networkOf,
} from "../server/client-address.js";
import { createRefusals, createRequestHandler } from "../server/handler.js";
import { createListener } from "../server/listener.js";
import type { Readiness } from "../server/readiness.js";
import { watchTlsFiles } from "../server/tls.js";
import type { Store } from "../store/store.js";
import type { Domain } from "./domain.js";
import type { KeyMaterial } from "./key-material.js";
import { createPageRoutes, type DemoUser } from "./pages.js";
import { createRevocationsRoute } from "./revocations.js";

export interface PublicPortOptions {
  readonly config: Config;
  readonly store: Store;
  readonly domain: Domain;
  readonly tls: KeyMaterial["tls"];
  readonly readiness: Readiness;
  readonly observer: Observer;
  readonly clock: KeyClock;
  readonly fastUnary: boolean;
  readonly demoUser: DemoUser | undefined;
  /** How often the TLS files are read. Default 10 s. */
  readonly tlsIntervalMs: number | undefined;
}

export function createPublicPort(options: PublicPortOptions) {
  const { config, store, domain, tls, readiness, observer, clock } = options;
  const { service, keys, takeover } = domain;
  let rpc: RpcHandler | undefined;
  const servesRpc = (path: string) => rpc?.serves(path) ?? false;
  let loading: Promise<RpcHandler> | undefined;
  /**
   * Loading Connect takes a third of the start and REST does not need it, so the port opens before.
   */
  const loadRpc = () =>
    (loading ??= import("../rpc/handler.js").then(({ authRoutes, createRpcHandler }) => {
      const { onFault } = observer;
      const routes = authRoutes(service, readiness, { reflection: config.REFLECTION });
      return (rpc = createRpcHandler({ routes, onFault, fastUnary: options.fastUnary }));
    }));
  const documents = [
    ...createDocumentRoutes(keys, config.TOKEN_ISSUER),
    ...(config.REVOCATIONS ? [createRevocationsRoute({ config, store, keys, clock })] : []),
  ];
  const documentPaths = documents.map(({ path }) => path);
  const [apiPage, ...pages] = config.API_PAGE
    ? createPageRoutes({ config, documents: documentPaths, demoUser: options.demoUser })
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
  const corsOrigins = config.CORS_ORIGINS ?? [];
  const clientAddressOf = createClientAddressReader(config.TRUST_PROXY);
  const handler = createRequestHandler({
    routes,
    rpc: {
      serves: servesRpc,
      handle: (exchange, path) =>
        rpc ? rpc.handle(exchange, path) : loadRpc().then((rpc) => rpc.handle(exchange, path)),
    },
    corsOrigins,
    cors: async () => (await loadRpc()).corsHeaders,
    clientAddressOf,
    onAccess: observer.onAccess,
    onFault: observer.onFault,
  });
  const scheme = tls ? "https" : "http";
  const listener = createListener({
    host: config.HOST,
    port: config.PORT,
    handler: observer.observeRequests(handler, servesRpc, scheme),
    ...(tls && { tls: tls.material }),
    limits: { idleTimeoutMs: config.KEEP_ALIVE_TIMEOUT * 1000 },
    networkOf: connectionCounter(config),
    isShared: proxyMatcher(config),
    clientOf: (req) => networkOf(clientAddressOf(req)),
    isProxied: createNetworkMatcher(config.TRUST_PROXY_PROTOCOL ?? []),
    refusalOf: createRefusals({
      routes,
      corsOrigins,
      refuseRpc: (...request) => rpc?.refuse(...request),
      exposedHeaders: () => rpc?.corsHeaders.exposedHeaders ?? [],
    }),
    onRefused: observer.onRefused,
  });

  let certificateEnd = tls && endOf(tls.material.cert);
  function watchTls(): () => void {
    if (tls === undefined) return () => undefined;
    return watchTlsFiles({
      files: tls.files,
      current: tls.material,
      reload(material) {
        listener.reloadTls(material);
        certificateEnd = endOf(material.cert);
        observer.onTlsReload();
      },
      onError: observer.onTlsReload,
      ...(options.tlsIntervalMs !== undefined && { intervalMs: options.tlsIntervalMs }),
    });
  }

  let unwatchTls = (): void => undefined;
  return {
    /**
     * Opens the port and returns its base URL.
     * @throws the system's error
     */
    async open(): Promise<string> {
      const url = baseUrl(await listener.listen(), scheme);
      unwatchTls = watchTls();
      return url;
    },
    /** Loads the rpcs and returns the served paths. */
    async load(): Promise<string[]> {
      const { paths } = await loadRpc();
      return [...routes.map(({ path }) => path), ...paths];
    },
    connections: () => listener.connections(),
    /** The end of the certificate's validity, in seconds since the epoch. */
    certificateEnd: () => certificateEnd,
    /** Finishes open requests within `graceMs`. */
    async drain(graceMs: number): Promise<void> {
      rpc?.endStreams();
      await listener.drain(graceMs);
      unwatchTls();
    },
  };
}

/**
 * Returns the function that gives the client network by which connections are counted. A trusted
 * proxy has none: all clients share its connections.
 */
function connectionCounter(config: Config) {
  const isShared = proxyMatcher(config);
  const exempt = createNetworkMatcher(config.THROTTLE_EXEMPT_NETWORKS ?? []);
  return (remoteAddress: string) =>
    isShared(remoteAddress) || exempt(remoteAddress) ? undefined : networkOf(remoteAddress);
}

/** Returns a function that tells whether an address belongs to a trusted proxy. */
function proxyMatcher({ TRUST_PROXY }: Config): (address: string) => boolean {
  if (typeof TRUST_PROXY === "number") return () => TRUST_PROXY > 0;
  return createNetworkMatcher(TRUST_PROXY ?? []);
}

/** The end of a certificate's validity, in seconds since the epoch. */
const endOf = (certificate: string) => Date.parse(new X509Certificate(certificate).validTo) / 1000;
