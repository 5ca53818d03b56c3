/**
 * Adds the take-over to the app, and loads its room if there is an old server. Depends on auth,
 * config, gateway, the server's and the pages' types and the store's port.
 */
import { METHODS } from "node:http";
import { AuthError, type AuthErrorCode } from "../auth/errors.js";
import {
  Gate,
  type AttemptReason,
  type GateDependencies,
  type SecondOpinion,
} from "../auth/gate/gate.js";
import type { KeySet } from "../auth/keys/keys.js";
import { noRehasher } from "../auth/passwords/rehash.js";
import { createAuthService } from "../auth/service.js";
import { noThrottle } from "../auth/throttle/throttle.js";
import { createTokens, type TokenPolicy, type Tokens } from "../auth/tokens.js";
import type { UserStore } from "../auth/users.js";
import type { Config } from "../config/config.js";
import { ownUsernameKeyFor } from "../config/presets.js";
import { createLoginRoute } from "../gateway/login-route.js";
import { createTokenRoute } from "../gateway/token-route.js";
import type { StatusTakeover, TakeoverProgress } from "../pages/status.js";
import type { Route } from "../server/route.js";
import type { Store } from "../store/store.js";
import type {
  AnswerAlone,
  PathName,
  Takeover,
  TakeoverEvent,
  TakeoverOptions,
} from "../takeover/takeover.js";

export interface TakeoverDependencies {
  readonly config: Config;
  readonly store: Pick<Store, "takeover" | "users" | "secret">;
  readonly keys: KeySet;
  readonly policy: TokenPolicy;
  readonly tokens: Tokens;
  readonly decoy: GateDependencies["decoy"];
  readonly queue: GateDependencies["queue"];
  /** Computes a new hash in the queue that also bounds the hashes of logins. */
  readonly hash: (password: string) => Promise<string>;
  /** The certificate authorities of the old server, PEM. */
  readonly ca: string | undefined;
  readonly clock: { now(): number; monotonic(): number };
  readonly onEvent: (event: TakeoverEvent) => void;
}

/** The parts that replace the app's own. */
export interface TakeoverParts {
  readonly users: Pick<UserStore, "findByUsername" | "findBySubject" | "sampleHashes">;
  readonly secondOpinion: SecondOpinion;
  route(name: PathName, own: Route): Route;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Undefined until the room is loaded. */
  state(): ReturnType<Takeover["state"]> | undefined;
  /** As {@link state}, with the last progress. Starts to count anew, if the last count is old. */
  status(): StatusTakeover | undefined;
}

/** Returns undefined if there is no old server. The first request loads the room. */
export function createTakeover(deps: TakeoverDependencies): TakeoverParts | undefined {
  const url = deps.config.UPSTREAM_URL;
  if (url === undefined) return undefined;
  let takeover: Takeover | undefined;
  let loading: Promise<Takeover> | undefined;
  const load = () =>
    (loading ??= import("../takeover/takeover.js").then(
      ({ Takeover }) => (takeover = new Takeover(optionsOf(deps, url, users))),
    ));
  const users: TakeoverParts["users"] = {
    findByUsername: async (username) => (await load()).users.findByUsername(username),
    findBySubject: async (subject) => (await load()).users.findBySubject(subject),
    sampleHashes: async (size) => (await load()).users.sampleHashes(size),
  };
  const progress = createProgressReader(deps);
  return {
    users,
    secondOpinion: { decide: async (...given) => (await load()).opinion.decide(...given) },
    route(name, own) {
      let route: Route | undefined;
      const loaded = async () => (route ??= (await load()).route(name, own));
      if (!deps.config.UPSTREAM_PATHS.includes(name)) return own;
      return {
        path: own.path,
        methods: METHODS,
        handle: (request) => route?.handle(request) ?? loaded().then((r) => r.handle(request)),
        fail: (error) => own.fail(error),
        refuse: (status) => own.refuse(status),
      };
    },
    start: async () => (await load()).start(),
    stop: async () => takeover?.stop(),
    state: () => takeover?.state(),
    status: () => takeover && { ...takeover.state(), progress: progress() },
  };
}

const progressAgeMs = 5000;
/** Counting reads every user: the pause after it is this many times as long as it took. */
const pauseFactor = 100;
const recentDays = 7;

/** Returns a function that gives the last progress, and reads it again in the background. */
function createProgressReader({ store, clock }: TakeoverDependencies) {
  let last: TakeoverProgress | undefined;
  let nextAt = -Infinity;
  const read = async (): Promise<void> => {
    const { readProgress, recentDifferences } = await import("../takeover/progress.js");
    const [at, start] = [clock.now(), clock.monotonic()];
    const progress = await readProgress(store.takeover, store.users, at);
    const { users, learnt, unknown, forecast } = progress;
    const differences = recentDifferences(progress, recentDays, at);
    last = { at, users, learnt, unknown, forecast, differences };
    const end = clock.monotonic();
    nextAt = end + Math.max(progressAgeMs, pauseFactor * (end - start));
  };
  return (): TakeoverProgress | undefined => {
    if (clock.monotonic() >= nextAt) {
      nextAt = Infinity;
      // The page shows when the users were counted last.
      read().catch(() => (nextAt = clock.monotonic() + progressAgeMs));
    }
    return last;
  };
}

function optionsOf(
  deps: TakeoverDependencies,
  url: string,
  users: TakeoverParts["users"],
): TakeoverOptions {
  const { config, store, keys, policy, clock } = deps;
  // The keys from files, the old server's among them, without the managed keys that sign our
  // tokens.
  const oldKeys: KeySet = {
    ...keys,
    verificationKeys: async (kid) =>
      (await keys.verificationKeys(kid)).filter(({ legacy }) => legacy),
  };
  const oldTokens = createTokens(policy, oldKeys, clock);
  return {
    url,
    ca: deps.ca,
    paths: config.UPSTREAM_PATHS,
    timeoutMs: config.UPSTREAM_TIMEOUT * 1000,
    concurrency: config.UPSTREAM_CONCURRENCY,
    lead: config.UPSTREAM_LEAD,
    recheckMs: config.UPSTREAM_RECHECK * 1000,
    store: store.takeover,
    users: store.users,
    usernameKey: ownUsernameKeyFor(config),
    secret: () => store.secret(),
    hash: config.UPSTREAM_LEARN ? deps.hash : undefined,
    verify: async (token) => (await oldTokens.verify(token)).subject,
    answerAlone: createAnswerAlone(deps, users),
    now: () => clock.now(),
    onEvent: deps.onEvent,
  };
}

/** Errors that do not tell whether the credentials are right. */
const faults: readonly AuthErrorCode[] = [
  ...(["overloaded", "store_unavailable", "rate_limited", "internal"] as const),
];

/**
 * A second pair of the REST paths, whose parts count and write nothing. Handles one request at a
 * time.
 */
function createAnswerAlone(
  { config, tokens, decoy, queue, clock }: TakeoverDependencies,
  users: TakeoverParts["users"],
): AnswerAlone {
  let reason: AttemptReason | undefined;
  const gate = new Gate({
    ...{ users, decoy, queue, throttle: noThrottle, rehasher: noRehasher },
    onAttempt: (event) => (reason = event.reason),
    now: () => clock.monotonic(),
  });
  const service = createAuthService({ users, gate, tokens });
  const routes = {
    token: createTokenRoute(service, clock),
    login: createLoginRoute(service, config.TOKEN_TTL, config.LEGACY_TIME_ZONE),
  };
  return async (path, request) => {
    const route = routes[path];
    const { clientAddress, requestId } = request.caller;
    const { signal } = new AbortController();
    const caller = { clientAddress, requestId, traceIds: undefined, signal };
    reason = undefined;
    if (!route.methods.includes(request.method)) {
      const { headers, ...answer } = route.refuse(405);
      const allow = route.methods.join(", ");
      return { answer: { ...answer, headers: { ...headers, allow } }, matches: undefined };
    }
    try {
      const answer = await route.handle({ ...request, caller });
      return { answer, matches: matchOf(reason) };
    } catch (error) {
      const domainError = AuthError.from(error);
      if (faults.includes(domainError.code)) return undefined;
      return { answer: route.fail(domainError), matches: matchOf(reason) };
    }
  };
}

/** Whether the password was the user's; undefined if unknown. */
function matchOf(reason: AttemptReason | undefined): boolean | undefined {
  if (reason === "accepted" || reason === "disabled") return true;
  const isWrong = ["unknown_user", "wrong_password", "no_usable_hash"].includes(reason ?? "");
  return isWrong ? false : undefined;
}
