/**
 * Bounds how many wrong passwords are checked: per username and client network, per username over the
 * networks that the user has not logged in from, and per network; over all processes and replicas
 * that share the store. Depends on errors, node:crypto and the throttle's own modules.
 *
 * A login from a known network that nobody has failed on is checked without a write beforehand. Each
 * process may have one such check for a username and network at a time, and only if it holds one of
 * as many seats as the limit allows failures: so at most twice the limit are ever checked, however
 * many processes there are. Those without a seat write first, as do all others.
 */
import { createHmac } from "node:crypto";
import { AuthError } from "../errors.js";
import { createLedger, type Seen, type Step } from "./ledger.js";
import {
  addKnown,
  claim,
  countFailure,
  giveBack,
  isKnown,
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
import type { UsernameKey } from "../usernames.js";

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
   * @throws Throttled where a limit is reached.
   * @throws AuthError `store_unavailable`.
   * @throws the signal's reason.
   */
  admit(username: string, network: string, signal: AbortSignal): Promise<Permit>;
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

type RecordKind = "user" | "network";

/** One attempt: where its failures are counted. */
interface Subject {
  readonly userKey: string;
  /** Undefined for an exempt network. */
  readonly networkKey: string | undefined;
  /** The network's name within the user's record. */
  readonly pair: string;
  readonly network: string;
}

export function createThrottle(options: ThrottleOptions): Throttle {
  const { store, limits, clock } = options;
  const windowMs = limits.windowSeconds * 1000;
  const ledger = createLedger({ store, windowMs, clock });
  const seat = createSeat({ store, seats: limits.failures, clock });
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
      network,
    };
  }

  async function admit(subject: Subject, signal: AbortSignal): Promise<Permit> {
    const { userKey, networkKey, pair } = subject;
    // Claimed before the record is read, so that what is read holds every failure of the last one.
    const mayGoUnreserved = seat.isHeld() && !unreserved.has(pair);
    if (mayGoUnreserved) unreserved.add(pair);
    let permit: Permit | undefined;
    try {
      const seen = toSeen(
        subject,
        await ledger.read(networkKey ? [userKey, networkKey] : [userKey]),
      );
      signal.throwIfAborted();
      const nowMs = clock.now();
      const record = prune(seen.user.record, nowMs, windowMs);
      if (mayGoUnreserved && isKnown(record, pair) && record.counters[pair] === undefined) {
        return (permit = unreservedPermit(subject, seen, isKnownStale(record, pair, nowMs)));
      }
      // A look at both spares the writes where one of them refuses.
      const claims = claimsOf(record, pair);
      throwRefusal("user", claim(record, claims.user, nowMs, claims.hasFailed));
      if (seen.network) {
        const network = prune(seen.network.record, nowMs, windowMs);
        throwRefusal("network", claim(network, claims.network, nowMs, claims.hasFailed));
      }
      return await reserve(subject, seen, claimsOf, signal);
    } finally {
      if (mayGoUnreserved && permit === undefined) unreserved.delete(pair);
    }
  }

  /** What an attempt has to claim, by what the user's record says of the network. */
  function claimsOf(record: ThrottleRecord, pair: string): Claims {
    const own = { counter: pair, limit: limits.failures };
    const hasFailed = (record.counters[pair]?.failures ?? 0) > 0;
    if (isKnown(record, pair)) {
      // What strangers do on a known network keeps its user out no more than what they do elsewhere.
      return { user: [own], network: [{ counter: all, limit: Infinity }], hasFailed };
    }
    return {
      user: [own, { counter: all, limit: limits.userFailures }],
      network: [{ counter: all, limit: limits.networkFailures }],
      hasFailed,
    };
  }

  /** Takes the places, the user's first: in one order for all, so that none wait for one another. */
  async function reserve(
    subject: Subject,
    seen: SeenRecords,
    claimsOf: (record: ThrottleRecord, pair: string) => Claims,
    signal?: AbortSignal,
  ): Promise<Permit> {
    const { userKey, networkKey, pair } = subject;
    const user = await ledger.change(
      userKey,
      seen.user,
      (record, nowMs) => {
        const claims = claimsOf(record, pair);
        return toStep(claim(record, claims.user, nowMs, claims.hasFailed), claims);
      },
      signal,
    );
    throwRefusal("user", user.result.decision);
    const { claims } = user.result;
    const places = [placeOf(userKey, claims.user, user)];
    try {
      if (networkKey !== undefined) {
        const network = await ledger.change(
          networkKey,
          seen.network,
          (record, nowMs) => toStep(claim(record, claims.network, nowMs, claims.hasFailed), claims),
          signal,
        );
        throwRefusal("network", network.result.decision);
        places.push(placeOf(networkKey, claims.network, network));
      }
      signal?.throwIfAborted();
    } catch (error) {
      await settleAll(subject, places, "unchecked");
      throw error;
    }
    return { settle: (outcome, username) => settleAll(subject, places, outcome, username) };
  }

  function unreservedPermit(subject: Subject, seen: SeenRecords, isStale: boolean): Permit {
    const { userKey, pair } = subject;
    const always = {
      user: [{ counter: pair, limit: Infinity }],
      network: [{ counter: all, limit: Infinity }],
      hasFailed: true,
    };
    return {
      async settle(outcome, username) {
        try {
          if (outcome === "wrong") {
            // In the same steps as for others, so that nobody sees by the time who is known here.
            const permit = await reserve(subject, seen, () => always);
            await permit.settle(outcome, username);
          } else if (outcome === "right" && isStale) {
            const place = { key: userKey, seen: seen.user, counters: [], slots: [] };
            await settleAll(subject, [place], outcome, username);
          }
        } finally {
          unreserved.delete(pair);
        }
      },
    };
  }

  async function settleAll(
    { userKey, pair, network }: Subject,
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
          const isLogin = outcome === "right" && key === userKey;
          return { result: undefined, record: isLogin ? addKnown(settled, pair, nowMs) : settled };
        }),
      ),
    );
  }

  return {
    admit: async (username, network, signal) => admit(await subjectOf(username, network), signal),
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

function throwRefusal(kind: RecordKind, decision: Decision): void {
  if (decision.verdict !== "refused") return;
  throw new Throttled(scopeOf(kind, decision.counter), decision.waitMs);
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

/** Asks once for all; after a failure again. */
function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined;
  return () =>
    (answer ??= ask().catch((error: unknown) => {
      answer = undefined;
      throw error;
    }));
}
