/**
 * Bounds how many wrong passwords are checked: per username and client network, per username over the
 * networks that the user has not logged in from, and per network; over all processes and replicas
 * that share the store. Depends on errors, node:crypto and the throttle's own modules.
 *
 * A login from a known network that nobody has failed on is checked without a write beforehand. Each
 * process may have one such check for a username and network at a time, and only if it holds one of
 * half as many seats as the limit allows failures. Attempts that only trust lets pass have the other
 * half: so at most twice the limit are ever checked, however many processes there are.
 */
import { createHmac } from "node:crypto";
import { AuthError } from "../errors.js";
import { createLedger, type Seen, type Step } from "./ledger.js";
import {
  addKnown,
  claim,
  countFailure,
  giveBack,
  isKnownStale,
  prune,
  slotMs,
  type Claim,
  type Decision,
  type ThrottleRecord,
} from "./record.js";
import { createSeat } from "./seat.js";
import type { ThrottleStore } from "./store.js";
import { foldUsername } from "./username-fold.js";
import type { StoreBudget } from "../store-budget.js";
import type { UsernameKey } from "../usernames.js";
import type { UserId } from "../users.js";

export type { ThrottleDocument, ThrottleStore } from "./store.js";
export { foldUsername } from "./username-fold.js";

export interface ThrottleLimits {
  /** Failures of one username from one network. */
  readonly failures: number;
  /** Failures of one username from all networks that the user has not logged in from. */
  readonly userFailures: number;
  /** Failures from one network. */
  readonly networkFailures: number;
  /** Time without a failure after which failures are forgotten. */
  readonly windowSeconds: number;
}

export interface ThrottleOptions {
  readonly store: ThrottleStore;
  /** Random bytes, the same for all that share the store: what names and networks are hashed with. */
  readonly secret: () => Promise<Uint8Array>;
  readonly limits: ThrottleLimits;
  /** Networks that have no limit of their own. */
  readonly isExempt: (network: string) => boolean;
  /** What two names of one user have in common. */
  readonly usernameKey: UsernameKey;
  readonly clock: { now(): number };
}

/** Which limit an attempt met. */
export type ThrottleScope = "username_and_network" | "username" | "network";

/** The refusal of an attempt; its code is `rate_limited`. */
export class Throttled extends AuthError {
  readonly scope: ThrottleScope;

  constructor(scope: ThrottleScope, waitMs: number) {
    const retryAfterSeconds = Math.max(1, Math.ceil(waitMs / 1000));
    super("rate_limited", `throttled by ${scope}`, { retryAfterSeconds });
    this.scope = scope;
  }
}

/** The leave to check one password. It must be settled once, before the outcome is told to anybody. */
export interface Permit {
  /**
   * Set where only the account's trust in the network lets it pass: what the attempt is answered if
   * the password is wrong, as every other name is there and then.
   */
  readonly refusal?: Throttled | undefined;
  /**
   * @param username that of the user, where there is one: what an operator sees in the list.
   * @throws AuthError `store_unavailable`: then the outcome must not be told.
   */
  settle(outcome: "right" | "wrong" | "unchecked", username?: string): Promise<void>;
}

export interface ThrottleEntry {
  /** Undefined where there is no such user, and for a network. */
  readonly username: string | undefined;
  readonly network: string | undefined;
  readonly scope: ThrottleScope;
  readonly failures: number;
  /** Whole seconds until the next attempt is let through; 0 while that is below the limit. */
  readonly retryAfterSeconds: number;
}

export interface Throttle {
  /**
   * Waits while it is not clear yet whether other attempts leave room for one more.
   *
   * @param account whose name it is, if anybody's; looked up meanwhile. What it rejects with is thrown.
   * @throws Throttled where a limit is reached.
   * @throws AuthError `store_unavailable`.
   * @throws the signal's reason.
   */
  admit(
    username: string,
    network: string,
    account: Promise<UserId | undefined>,
    signal: AbortSignal,
    budget?: StoreBudget,
  ): Promise<Permit>;
  /** Forgets the failures of a username. False where there were none. */
  unlock(username: string): Promise<boolean>;
  /** What is counted at present, in no particular order. */
  list(): AsyncIterable<ThrottleEntry>;
  /** Takes the process's seat and keeps it until `close`. Never throws. */
  open(): Promise<void>;
  close(): Promise<void>;
}

/** Lets everything through: `THROTTLE_FAILURES=0`. */
export const noThrottle: Pick<Throttle, "admit" | "open" | "close"> = {
  admit: () => Promise.resolve({ settle: () => Promise.resolve() }),
  open: () => Promise.resolve(),
  close: () => Promise.resolve(),
};

/** The counter of a user's record over all networks that are not known, and that of a network's. */
const all = "all";
/** What the name of a pair's counter has before it where only trust lets its attempts pass. */
const trusted = "trusted:";

type RecordKind = "user" | "network";

/** One attempt: where its failures are counted. */
interface Subject {
  readonly userKey: string;
  /** Undefined for an exempt network. */
  readonly networkKey: string | undefined;
  /** The network's name within the user's record. */
  readonly pair: string;
  /** The name of that account's trust in the network. */
  readonly trustOf: (account: UserId) => string;
  readonly network: string;
}

export function createThrottle(options: ThrottleOptions): Throttle {
  const { store, limits, clock } = options;
  const windowMs = limits.windowSeconds * 1000;
  const ledger = createLedger({ store, windowMs, clock });
  const seat = createSeat({ store, seats: Math.floor(limits.failures / 2), clock });
  const secret = once(options.secret);
  /** The pairs that a check is under way for without a place taken. */
  const unreserved = new Set<string>();

  async function subjectOf(username: string, network: string): Promise<Subject> {
    const key = await secret();
    const name = foldUsername(options.usernameKey(username));
    const hash = (...parts: string[]) =>
      createHmac("sha256", key).update(JSON.stringify(parts)).digest("base64url");
    return {
      userKey: `user:${hash("user", name)}`,
      networkKey: options.isExempt(network) ? undefined : `network:${hash("network", network)}`,
      pair: hash("pair", name, network).slice(0, 16),
      trustOf: ({ type, value }) =>
        [hash("account", type, value), hash("known", type, value, network)]
          .map((part) => part.slice(0, 16))
          .join("."),
      network,
    };
  }

  async function admit(
    subject: Subject,
    account: Promise<UserId | undefined>,
    signal: AbortSignal,
    budget?: StoreBudget,
  ): Promise<Permit> {
    const { userKey, networkKey, pair } = subject;
    // Claimed before the record is read, so that what is read holds every failure of the last one.
    const mayGoUnreserved = seat.isHeld() && !unreserved.has(pair);
    if (mayGoUnreserved) unreserved.add(pair);
    let permit: Permit | undefined;
    try {
      const looked = Promise.all([
        ledger.read(networkKey ? [userKey, networkKey] : [userKey]),
        account,
      ]);
      const [found, id] = await (budget?.during(looked) ?? looked);
      const seen = toSeen(subject, found);
      signal.throwIfAborted();
      const nowMs = clock.now();
      const record = prune(seen.user.record, nowMs, windowMs);
      const trust = id && subject.trustOf(id);
      const known = [trust, pair].find((name) => name !== undefined && record.known[name]);
      // A look at the records spares the writes where one of them refuses.
      const refusal = refusalOf(seen, claimsOf("stranger", record, pair), nowMs);
      const kind = refusal ? "trusted" : "known";
      if (id === undefined || known === undefined) {
        if (refusal) throw refusal;
        return await inTime(
          reserve(subject, trust, seen, "stranger", signal, undefined, budget),
          budget,
        );
      }
      const own = refusalOf(seen, claimsOf("known", record, pair), nowMs);
      if (own) throw refusal ?? own;
      const isClean = record.counters[pair] === undefined && refusal === undefined;
      if (mayGoUnreserved && isClean) {
        const isStale = known !== trust || isKnownStale(record, known, nowMs);
        return (permit = unreservedPermit(subject, trust, seen, isStale));
      }
      const reserved = reserve(subject, trust, seen, kind, signal, refusal, budget);
      return { ...(await inTime(reserved, budget)), refusal };
    } finally {
      if (mayGoUnreserved && permit === undefined) unreserved.delete(pair);
    }
  }

  /** What an attempt has to claim. */
  function claimsOf(kind: Footing, record: ThrottleRecord, pair: string): Claims {
    const own = { counter: pair, limit: limits.failures };
    const hasFailed = (record.counters[pair]?.failures ?? 0) > 0;
    const network = { counter: all, limit: limits.networkFailures };
    const unlimited = { counter: all, limit: Infinity };
    switch (kind) {
      case "stranger":
        return {
          user: [own, { counter: all, limit: limits.userFailures }],
          network: [network],
          hasFailed,
        };
      case "known":
        // What strangers do on a known network keeps its user out no more than what they do elsewhere.
        return { user: [own], network: [unlimited], hasFailed };
      case "trusted": {
        // Counted where nobody sees it: to all others this attempt was refused and left no trace.
        const counter = trusted + pair;
        const isFailed = (record.counters[counter]?.failures ?? 0) > 0;
        return {
          user: [{ counter, limit: Math.ceil(limits.failures / 2) }],
          network: [],
          hasFailed: isFailed,
        };
      }
      case "counted":
        return {
          user: [{ counter: pair, limit: Infinity }],
          network: [unlimited],
          hasFailed: true,
        };
    }
  }

  /** Why those claims are refused, if they are. */
  function refusalOf(seen: SeenRecords, claims: Claims, nowMs: number): Throttled | undefined {
    const { user, network, hasFailed } = claims;
    const check = (kind: RecordKind, { record }: Seen, of: readonly Claim[]) =>
      toRefusal(kind, claim(prune(record, nowMs, windowMs), of, nowMs, hasFailed));
    return (
      check("user", seen.user, user) ?? (seen.network && check("network", seen.network, network))
    );
  }

  /**
   * Takes the places, the user's first: in one order for all, so that none wait for one another.
   *
   * @param refusal what is thrown instead of a refusal of these claims.
   */
  async function reserve(
    subject: Subject,
    trust: string | undefined,
    seen: SeenRecords,
    kind: Footing,
    signal?: AbortSignal,
    refusal?: Throttled,
    budget?: StoreBudget,
  ): Promise<Permit> {
    const { userKey, networkKey, pair } = subject;
    const user = await ledger.change(
      userKey,
      seen.user,
      (record, nowMs) => {
        const claims = claimsOf(kind, record, pair);
        return toStep(claim(record, claims.user, nowMs, claims.hasFailed), claims);
      },
      signal,
      budget,
    );
    const refused = toRefusal("user", user.result.decision);
    if (refused) throw refusal ?? refused;
    const { claims } = user.result;
    const places = [placeOf(userKey, claims.user, user)];
    try {
      if (networkKey !== undefined && claims.network.length > 0) {
        const network = await ledger.change(
          networkKey,
          seen.network,
          (record, nowMs) => toStep(claim(record, claims.network, nowMs, claims.hasFailed), claims),
          signal,
          budget,
        );
        const refused = toRefusal("network", network.result.decision);
        if (refused) throw refused;
        places.push(placeOf(networkKey, claims.network, network));
      }
      signal?.throwIfAborted();
    } catch (error) {
      await settleAll(subject, undefined, places, "unchecked");
      throw error;
    }
    return { settle: (outcome, username) => settleAll(subject, trust, places, outcome, username) };
  }

  function unreservedPermit(
    subject: Subject,
    trust: string | undefined,
    seen: SeenRecords,
    isStale: boolean,
  ): Permit {
    const { userKey, pair } = subject;
    return {
      async settle(outcome, username) {
        try {
          if (outcome === "wrong") {
            // In the same steps as for others, so that nobody sees by the time who is known here.
            const permit = await reserve(subject, trust, seen, "counted");
            await permit.settle(outcome, username);
          } else if (outcome === "right" && isStale) {
            const place = { key: userKey, seen: seen.user, counters: [], slots: [] };
            await settleAll(subject, trust, [place], outcome, username);
          }
        } finally {
          unreserved.delete(pair);
        }
      },
    };
  }

  async function settleAll(
    { userKey, network }: Subject,
    trust: string | undefined,
    places: readonly Place[],
    outcome: "right" | "wrong" | "unchecked",
    username?: string,
  ): Promise<void> {
    await Promise.all(
      places.map(({ key, seen, counters, slots }) =>
        ledger.change(key, seen, (record, nowMs) => {
          const label = key === userKey ? username : network;
          const labelled = label === undefined ? record : { ...record, label };
          const settled =
            outcome === "wrong"
              ? countFailure(labelled, counters, nowMs)
              : giveBack(labelled, counters, slots, nowMs);
          const isLogin = outcome === "right" && key === userKey && trust !== undefined;
          return { result: undefined, record: isLogin ? addKnown(settled, trust, nowMs) : settled };
        }),
      ),
    );
  }

  return {
    async admit(username, network, account, signal, budget) {
      // Its failure is thrown once the records have been read.
      account.catch(() => undefined);
      return admit(await subjectOf(username, network), account, signal, budget);
    },
    async unlock(username) {
      const { userKey } = await subjectOf(username, "");
      const { result } = await ledger.change(userKey, undefined, (record) =>
        Object.keys(record.counters).length === 0
          ? { result: false }
          : { result: true, record: { ...record, counters: {} } },
      );
      return result;
    },
    list: () => list(options, windowMs),
    open: () => seat.open(),
    close: () => seat.close(),
  };
}

/**
 * What an attempt claims: `stranger` where the account has not logged in from the network, `known` where
 * it has, `trusted` where a stranger would be refused, `counted` once a wrong password is to be counted.
 */
type Footing = "stranger" | "known" | "trusted" | "counted";

/** Places that an attempt has taken in one record. */
interface Place {
  readonly key: string;
  readonly seen: Seen;
  readonly counters: readonly string[];
  readonly slots: readonly string[];
}

function placeOf(
  key: string,
  claims: readonly Claim[],
  { result, seen }: { result: { decision: Decision }; seen: Seen },
): Place {
  const slots = result.decision.verdict === "granted" ? result.decision.slots : [];
  return { key, seen, counters: claims.map(({ counter }) => counter), slots };
}

interface Claims {
  readonly user: readonly Claim[];
  readonly network: readonly Claim[];
  /** Whether the network has failures with the username. */
  readonly hasFailed: boolean;
}

interface SeenRecords {
  readonly user: Seen;
  readonly network: Seen | undefined;
}

function toSeen({ userKey }: Subject, [user, network]: readonly Seen[]): SeenRecords {
  if (user === undefined) throw new Error(`the store left out ${userKey}`);
  return { user, network };
}

function toStep(decision: Decision, claims: Claims): Step<{ decision: Decision; claims: Claims }> {
  if (decision.verdict === "wait") return "wait";
  const result = { decision, claims };
  return decision.verdict === "granted" ? { result, record: decision.record } : { result };
}

function toRefusal(kind: RecordKind, decision: Decision): Throttled | undefined {
  return decision.verdict === "refused"
    ? new Throttled(scopeOf(kind, decision.counter), decision.waitMs)
    : undefined;
}

async function* list(
  { store, limits, clock }: ThrottleOptions,
  windowMs: number,
): AsyncIterable<ThrottleEntry> {
  for await (const { key, document } of store.list()) {
    const kind = key.split(":", 1)[0];
    if (kind !== "user" && kind !== "network") continue;
    const nowMs = clock.now();
    const { label, counters } = prune(JSON.parse(document) as ThrottleRecord, nowMs, windowMs);
    for (const [name, { failures, slotAtMs }] of Object.entries(counters)) {
      const scope = scopeOf(kind, name);
      const waitMs = failures < limitOf(scope, limits) ? 0 : Math.max(0, slotAtMs - nowMs);
      yield {
        username: kind === "user" ? label : undefined,
        network: kind === "network" ? label : undefined,
        scope,
        failures,
        retryAfterSeconds: Math.ceil(Math.min(waitMs, slotMs) / 1000),
      };
    }
  }
}

function scopeOf(kind: RecordKind, counter: string): ThrottleScope {
  if (kind === "network") return "network";
  return counter === all ? "username" : "username_and_network";
}

function limitOf(scope: ThrottleScope, limits: ThrottleLimits): number {
  const by = {
    username_and_network: limits.failures,
    username: limits.userFailures,
    network: limits.networkFailures,
  };
  return by[scope];
}

/** The permit, unless the time for it is over: then it goes back unused once it comes. */
async function inTime(permit: Promise<Permit>, budget: StoreBudget | undefined): Promise<Permit> {
  if (budget === undefined) return permit;
  try {
    return await budget.during(permit);
  } catch (error) {
    permit.then((late) => late.settle("unchecked")).catch(() => undefined);
    throw error;
  }
}

/** Asks once for all; after a failure again. */
function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined;
  return () =>
    (answer ??= ask().catch((error: unknown) => {
      answer = undefined;
      throw error;
    }));
}
