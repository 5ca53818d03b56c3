/** One process of Latchkey, from the gate down to its store on MongoDB, as `app/domain.ts` puts it together. */
import { Gate, HashQueue, type AttemptEvent } from "../../src/auth/gate/gate.js";
import { ManagedKeys, type SigningKey } from "../../src/auth/keys/keys.js";
import { noRehasher } from "../../src/auth/passwords/rehash.js";
import { createAuthService, type AuthService } from "../../src/auth/service.js";
import { Throttle } from "../../src/auth/throttle/throttle.js";
import { createTokens } from "../../src/auth/tokens.js";
import { createDocumentRoutes, documentRoute } from "../../src/gateway/documents.js";
import { RevocationList } from "../../src/revocations/list.js";
import { RecordingUsers } from "../../src/revocations/recording-users.js";
import type { Route } from "../../src/server/route.js";
import { openMongoStore } from "../../src/store/mongo/mongo-store.js";
import { present, type World } from "./world.js";
import { shortKey } from "./sync-crypto.js";

export const issuer = "sim";
export const limits = { failures: 4, userFailures: 8, networkFailures: 12, windowSeconds: 900 };
export const tokenTtlSeconds = 300;
export const leewaySeconds = 10;
export const intervalSeconds = 1200;

export interface ProcessOptions {
  readonly hashMs: () => number;
  readonly pollMs: number;
  /** Called when a password is checked. */
  readonly onCheck: (password: string) => void;
  readonly onAttempt: (event: AttemptEvent) => void;
}

const systemClock = { now: () => Date.now(), monotonic: () => performance.now() };
const encryptionKeys = [new Uint8Array(32).fill(7)];
/** Making a key is slow, so every history has the same ones. */
const pool: ReturnType<typeof shortKey>[] = [];
const made = new WeakMap<World, number>();

function nextKey() {
  const world = present();
  const index = made.get(world) ?? 0;
  made.set(world, index + 1);
  return (pool[index] ??= shortKey());
}

/** Opens the store as a command does. */
export function openStore() {
  const store = openMongoStore({
    uri: "mongodb://model/sim",
    usersCollection: "users",
    fields: {
      ...{ username: "username", password: "passwordHash", disabled: "disabled" },
      ...{ roles: "roles", tokensValidAfter: "tokensValidAfter" },
    },
  });
  const keepSeconds = tokenTtlSeconds + leewaySeconds;
  return { ...store, users: new RecordingUsers({ ...store, keepSeconds, now: systemClock.now }) };
}

export function createKeys(store: ReturnType<typeof openStore>): ManagedKeys {
  return new ManagedKeys({
    ...{ store: store.keys, clock: systemClock, intervalSeconds, encryptionKeys },
    tokenSeconds: tokenTtlSeconds + leewaySeconds,
    generateKey: () => Promise.resolve(nextKey()),
  });
}

export interface LatchkeyProcess {
  readonly service: AuthService;
  readonly keys: ManagedKeys;
  readonly throttle: Throttle;
  readonly keySet: Route;
  readonly revocations: Route;
}

/** Starts a process on the present machine. */
export function startLatchkey(options: ProcessOptions): LatchkeyProcess {
  const store = openStore();
  const { users } = store;
  const keys = createKeys(store);
  const policy = {
    ...{ type: "JWT" as const, issuer, audience: undefined, ttlSeconds: tokenTtlSeconds },
    ...{ leewaySeconds, maxSessionSeconds: 86_400 },
  };
  const tokens = createTokens(policy, keys, systemClock);
  const throttle = new Throttle({
    ...{ store: store.throttle, secret: () => store.secret(), limits, checksMax: 2 },
    ...{ isExempt: () => false, usernameKey: (name) => name },
  });
  const monotonic = () => systemClock.monotonic();
  const gate = new Gate({
    ...{ users, throttle, rehasher: noRehasher, onAttempt: options.onAttempt, now: monotonic },
    queue: new HashQueue({ concurrency: () => 2, waitingMax: 256, now: monotonic }),
    decoy: { hashFor: () => "", follow: () => undefined },
    observeVerify: () => (stored, password) => checkPassword(stored, password, options),
  });
  const list = new RevocationList({
    ...{ store: store.revocations, secret: () => store.secret(), issuer, now: systemClock.now },
    signingKey: (): Promise<SigningKey> => keys.signingKey(),
    revokedKeyIds: () => keys.revokedKeyIds(),
  });
  const [keySet] = createDocumentRoutes(keys, issuer) as [Route];
  const revocations = documentRoute("/.well-known/revocations", async () => {
    const { body, etag } = await list.published();
    return { body, etag, type: "application/jwt", caching: "max-age=5" };
  });
  const start = (): void => {
    keys.refresh().then(
      () => keys.start(options.pollMs),
      () => setTimeout(start, 1000),
    );
  };
  start();
  void throttle.open();
  const service = createAuthService({ users, gate, tokens });
  return { service, keys, throttle, keySet, revocations };
}

/** A password is `secret#attempt`; a stored hash is the secret. */
function checkPassword(stored: string | undefined, password: string, options: ProcessOptions) {
  return new Promise<boolean>((resolve) => {
    setTimeout(() => {
      options.onCheck(password);
      resolve(stored !== undefined && password.startsWith(`${stored}#`));
    }, options.hashMs());
  });
}
