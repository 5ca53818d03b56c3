/**
 * What is remembered of the failed logins of one username or one network, and what follows from it.
 * Pure: every function is given the time. Depends on nothing.
 *
 * An attempt takes its place in each counter that concerns it BEFORE its password is checked, and
 * gives it back unless it failed. Failures and places together never exceed the limit, so no number
 * of parallel attempts gets more than the limit checked. Who finds all places taken waits for them to
 * be settled: an attempt with the right password is never refused because of others of its kind.
 */

/** One attempt that is being checked. */
export interface Place {
  readonly atMs: number;
  /** Whether it is the one attempt that is let through past the limit. */
  readonly isNext: boolean;
}

export interface Counter {
  readonly failures: number;
  /** By the ids of the attempts. */
  readonly places: Readonly<Record<string, Place>>;
  readonly failedAtMs: number;
  /** Past the limit, when the next attempt is let through. */
  readonly nextAtMs: number;
}

export interface ThrottleRecord {
  /** For the operator: the username if there is such a user, or the network. */
  readonly label?: string;
  readonly counters: Readonly<Record<string, Counter>>;
  /** When an account logged in from a network: by the hashes of both, a dot between them. */
  readonly trusted: Readonly<Record<string, number>>;
}

/** How many failures and places a counter may hold. */
export interface Limit {
  readonly counter: string;
  readonly max: number;
}

export type Taking =
  | { readonly verdict: "taken"; readonly record: ThrottleRecord }
  | { readonly verdict: "refused"; readonly counter: string; readonly waitMs: number }
  /** All places are taken, or the one attempt of this minute is being checked. */
  | { readonly verdict: "wait" };

/** Past a limit, the time from one attempt to the next. */
export const nextAfterMs = 60_000;
/**
 * What a network that has no failure with a username is ahead of those that have, so that whoever
 * keeps guessing does not take every attempt from the user. The attempts do not come closer for it.
 */
const headStartMs = 10_000;
/**
 * When a place is taken to be lost with its process. It is given back uncounted: nobody was told what
 * came of that attempt.
 */
export const placeMaxMs = 30_000;
const dayMs = 86_400_000;
/**
 * How old trust becomes before a login renews it: for as long logins from there write nothing. It is kept
 * for as much longer, in favour of the user, so that 30 days since the last login are never cut short.
 */
const trustRefreshMs = 30 * dayMs;
const trustMs = 30 * dayMs + trustRefreshMs;
/** Of one account, and how many accounts of one name, one after the other, have some. */
const trustedMax = 64;
const accountsMax = 8;
const countersMax = 512;

export const emptyRecord: ThrottleRecord = { counters: {}, trusted: {} };
const zero: Counter = { failures: 0, places: {}, failedAtMs: 0, nextAtMs: 0 };

const placesOf = ({ places }: Counter) => Object.keys(places).length;

/**
 * The record without what is over, and within its bounds. Times that lie ahead were written by a
 * clock that was wrong: they count as now, and the places of then as given back.
 */
export function prune(record: ThrottleRecord, nowMs: number, windowMs: number): ThrottleRecord {
  const counters = Object.entries(record.counters).flatMap(([name, stored]) => {
    const counter = correct(stored, nowMs);
    const taken = placesOf(counter);
    const isOver = taken === 0 && nowMs - counter.failedAtMs >= windowMs;
    return isOver || counter.failures + taken === 0 ? [] : ([[name, counter]] as const);
  });
  const trusted = Object.entries(record.trusted).filter(([, atMs]) => nowMs - atMs < trustMs);
  return {
    ...record,
    counters: Object.fromEntries(newest(counters, ([, { failedAtMs }]) => failedAtMs, countersMax)),
    trusted: Object.fromEntries(withinBounds(trusted)),
  };
}

function correct(counter: Counter, nowMs: number): Counter {
  const places = Object.entries(counter.places).filter(
    ([, { atMs }]) => nowMs - atMs < placeMaxMs && atMs - nowMs < nextAfterMs,
  );
  return {
    failures: counter.failures,
    places: Object.fromEntries(places),
    failedAtMs: Math.min(counter.failedAtMs, nowMs),
    nextAtMs: counter.nextAtMs - nowMs > nextAfterMs + headStartMs ? nowMs : counter.nextAtMs,
  };
}

/** The newest of each account: no other account takes them away. */
function withinBounds(trusted: readonly (readonly [string, number])[]) {
  const accounts = new Map<string, (readonly [string, number])[]>();
  for (const entry of trusted) {
    const account = accountOf(entry[0]);
    accounts.set(account, [...(accounts.get(account) ?? []), entry]);
  }
  const lastOf = (entries: readonly (readonly [string, number])[]) =>
    Math.max(...entries.map(([, atMs]) => atMs));
  return newest([...accounts.values()], lastOf, accountsMax).flatMap((entries) =>
    newest(entries, ([, atMs]) => atMs, trustedMax),
  );
}

const accountOf = (trust: string) => trust.split(".", 1)[0] ?? "";

function newest<T>(entries: readonly T[], atMs: (entry: T) => number, max: number): readonly T[] {
  return entries.length <= max
    ? entries
    : [...entries].sort((a, b) => atMs(b) - atMs(a)).slice(0, max);
}

/** When nothing of the record matters any more. */
export function expiryOf(record: ThrottleRecord, windowMs: number): number {
  return Math.max(
    0,
    ...Object.values(record.counters).flatMap(({ places, failedAtMs }) => [
      failedAtMs + windowMs,
      ...Object.values(places).map(({ atMs }) => atMs + placeMaxMs + windowMs),
    ]),
    ...Object.values(record.trusted).map((atMs) => atMs + trustMs),
  );
}

/**
 * Takes a place for an attempt in every counter, or in none. What it has already it keeps.
 *
 * @param record as {@link prune} left it at `nowMs`.
 * @param hasFailed whether the network has failures with that username.
 */
export function takePlaces(
  record: ThrottleRecord,
  limits: readonly Limit[],
  id: string,
  nowMs: number,
  hasFailed: boolean,
): Taking {
  const counters = { ...record.counters };
  let obstacle: Taking | undefined;
  for (const { counter: name, max } of limits) {
    const counter = counters[name] ?? zero;
    if (counter.places[id]) continue;
    const isPast = counter.failures >= max;
    const taken = placesOf(counter);
    const waitMs = Math.min(counter.nextAtMs - nowMs, nextAfterMs);
    const isEarly = counter.nextAtMs - (hasFailed ? 0 : headStartMs) > nowMs;
    if (isPast && taken === 0 && isEarly) {
      // The longest wait is told, without the head start: of attempts at one time all are told the same.
      if (obstacle?.verdict !== "refused" || waitMs > obstacle.waitMs)
        obstacle = { verdict: "refused", counter: name, waitMs };
    } else if (isPast ? taken > 0 : counter.failures + taken >= max) {
      obstacle ??= { verdict: "wait" };
    }
    const nextAtMs = isPast ? Math.max(nowMs, counter.nextAtMs) + nextAfterMs : counter.nextAtMs;
    const places = { ...counter.places, [id]: { atMs: nowMs, isNext: isPast } };
    counters[name] = { ...counter, places, nextAtMs };
  }
  return obstacle ?? { verdict: "taken", record: { ...record, counters } };
}

/** Whether an attempt has a place in any of these counters. */
export function hasPlace({ counters }: ThrottleRecord, names: readonly string[], id: string) {
  return names.some((name) => counters[name]?.places[id] !== undefined);
}

/** Turns the place of an attempt in each of these counters into a failure. */
export function countFailure(
  record: ThrottleRecord,
  names: readonly string[],
  id: string,
  nowMs: number,
): ThrottleRecord {
  return change(record, names, (counter = zero) => ({
    failures: counter.failures + 1,
    places: without(counter.places, id),
    failedAtMs: nowMs,
    nextAtMs: Math.max(counter.nextAtMs, nowMs + nextAfterMs),
  }));
}

/** Gives back the place of an attempt in each of these counters, and lets the next one through. */
export function giveBack(
  record: ThrottleRecord,
  names: readonly string[],
  id: string,
  nowMs: number,
): ThrottleRecord {
  return change(record, names, (counter) => {
    const place = counter?.places[id];
    if (counter === undefined || place === undefined) return counter;
    const nextAtMs = place.isNext ? Math.min(counter.nextAtMs, nowMs) : counter.nextAtMs;
    return { ...counter, places: without(counter.places, id), nextAtMs };
  });
}

/** Whether a login from that network, which is trusted, has to be noted again. */
export function isTrustStale({ trusted }: ThrottleRecord, trust: string, nowMs: number): boolean {
  // Where networks crowd one another out, those in use must not be the first to go.
  const own = Object.keys(trusted).filter((name) => accountOf(name) === accountOf(trust));
  const isCrowded = own.length > trustedMax / 2;
  return nowMs - (trusted[trust] ?? 0) >= (isCrowded ? dayMs : trustRefreshMs);
}

/** Notes a login of an account from a network. */
export function addTrust(record: ThrottleRecord, trust: string, nowMs: number): ThrottleRecord {
  return { ...record, trusted: { ...record.trusted, [trust]: nowMs } };
}

function without(places: Counter["places"], id: string): Counter["places"] {
  return Object.fromEntries(Object.entries(places).filter(([other]) => other !== id));
}

function change(
  record: ThrottleRecord,
  names: readonly string[],
  edit: (counter: Counter | undefined) => Counter | undefined,
): ThrottleRecord {
  const counters = { ...record.counters };
  for (const name of names) {
    const counter = edit(counters[name]);
    if (counter !== undefined) counters[name] = counter;
  }
  return { ...record, counters };
}
