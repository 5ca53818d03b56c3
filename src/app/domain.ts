/**
 * The domain of one process: keys, tokens, throttle, gate and service, made for a configuration and
 * a store. Depends on auth, config, observability, the store's port and its neighbours.
 */
import { AuthError } from "../auth/errors.js";
import { Gate, HashQueue } from "../auth/gate/gate.js";
import type { KeyClock, KeyEvent } from "../auth/keys/keys.js";
import { createDecoyCensus } from "../auth/passwords/decoy-census.js";
import { createDecoy, hashPassword } from "../auth/passwords/passwords.js";
import { createRehasher, noRehasher } from "../auth/passwords/rehash.js";
import { createAuthService } from "../auth/service.js";
import { noThrottle } from "../auth/throttle/throttle.js";
import { createTokens, type TokenPolicy } from "../auth/tokens.js";
import type { Config } from "../config/config.js";
import { usernameKeyFor } from "../config/presets.js";
import type { Logger } from "../observability/log.js";
import type { Observer } from "../observability/observer.js";
import type { Store } from "../store/store.js";
import { countFamilies } from "./hash-sample.js";
import { createHashWidth } from "./hash-width.js";
import { createManagedKeys, type KeyMaterial } from "./key-material.js";
import { createTakeover } from "./takeover.js";
import { createConfiguredThrottle } from "./throttling.js";

export interface DomainOptions {
  readonly config: Config;
  readonly store: Store;
  readonly keyMaterial: KeyMaterial;
  readonly observer: Observer;
  readonly logger: Logger;
  readonly clock: KeyClock;
  /** The throttle's clock in tests. Default: the store's clock. */
  readonly throttleClock: KeyClock | undefined;
  readonly onKeyEvent: (event: KeyEvent) => void;
  /** Maximum of concurrent hashes while no token is renewed. */
  readonly quietHashConcurrency: number;
  readonly newHash: ((password: string) => Promise<string>) | undefined;
}

export type Domain = ReturnType<typeof createDomain>;

export function createDomain(options: DomainOptions) {
  const { config, store, keyMaterial, observer, logger, clock, quietHashConcurrency } = options;
  const keys = createManagedKeys({ config, store, keyMaterial }, clock, options.onKeyEvent);
  const policy = tokenPolicyOf(config);
  const tokens = createTokens(policy, keys, clock);
  const throttle =
    createConfiguredThrottle(config, store, {
      ...(options.throttleClock && { clock: options.throttleClock }),
      checksMax: quietHashConcurrency,
    }) ?? noThrottle;
  const decoy = createDecoy(usernameKeyFor(config));
  const hashWidth = createHashWidth({
    busy: config.HASH_CONCURRENCY,
    quiet: quietHashConcurrency,
    now: () => clock.monotonic(),
  });
  const hashes = new HashQueue({
    concurrency: () => hashWidth.current(),
    waitingMax: config.HASH_QUEUE_MAX,
    now: () => clock.monotonic(),
  });
  const queue = observer.observeHashes(hashes);
  const { newHash = hashPassword } = options;
  const hash = (password: string) => hashInTurn(queue, () => newHash(password));
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

  function onRehashError(error: unknown): void {
    // The rehash is skipped under load; a later login does it.
    if (error instanceof AuthError && error.code === "overloaded") return;
    logger.warn({ event: "rehash_failed", err: error }, "a weak hash was not replaced");
  }

  return {
    service,
    keys,
    takeover,
    census,
    throttle,
    hashes,
    families,
    /** The upper limit of concurrent hashes. */
    hashesMax: hashWidth.max,
    /** Stops the background work, the store's included. Call it when no request is open. */
    async close(): Promise<void> {
      census.stop();
      await rehasher.settled();
      await takeover?.stop();
      await throttle.close();
      await keys.stop();
    },
  };
}

/** Computes a new hash in the queue that also bounds the hashes of logins. */
async function hashInTurn(
  queue: Pick<HashQueue, "enter">,
  hash: () => Promise<string>,
): Promise<string> {
  const place = queue.enter("rehash", undefined);
  try {
    return await place.run(hash);
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
