/**
 * What the throttle remembers of the failed logins of one username or network, and the rules for
 * it. Pure: every function gets the time as an argument. Depends on nothing.
 *
 * An attempt takes a place in each of its counters BEFORE its password is checked, and gives it
 * back unless the password was wrong. Failures and places together never exceed the limit, so
 * parallel attempts cannot exceed it either. An attempt that finds all places taken waits until
 * some are settled, so that logins with the right password never refuse each other.
 */

/** One attempt that is being checked. */
export interface Place {
  readonly atMs: number;
  /** Whether it is the one attempt that is let through past the limit. */
  readonly isNext: boolean;
}

export interface Counter {
  readonly failures: number;
  /** By attempt id. */
  readonly places: Readonly<Record<string, Place>>;
  readonly failedAtMs: number;
  /** When the next attempt past the limit is let through. */
  readonly nextAtMs: number;
}

export interface ThrottleRecord {
  /** For operators: the username if there is such a user, or the network. */
  readonly label?: string;
  readonly counters: Readonly<Record<string, Counter>>;
  /**
   * When an account last logged in from a network. Named by the hashes of both, with a dot between.
   */
  readonly trusted: Readonly<Record<string, number>>;
}

/** The most failures and places that a counter may hold. */
export interface Limit {
  readonly counter: string;
  readonly max: number;
}

export type Taking =
  | { readonly verdict: "taken"; readonly record: ThrottleRecord }
  | { readonly verdict: "refused"; readonly counter: string; readonly waitMs: number }
  /** All places are taken, or the one attempt past the limit is being checked. */
  | { readonly verdict: "wait" };

/** Milliseconds from one attempt past a limit to the next. */
export const nextAfterMs = 60_000;
/**
 * Past a limit, a network without failures for the username is let through this much earlier than
 * networks with some, so that a guesser cannot take every attempt from the user. There are no more
 * attempts for it.
 */
const headStartMs = 10_000;
/**
 * Milliseconds after which a place counts as lost with its process. It is given back uncounted,
 * since nobody learnt the outcome.
 */
export const placeMaxMs = 30_000;
const dayMs = 86_400_000;
/**
 * The age at which a login renews trust; until then logins from the network write nothing. Trust is
 * kept for 30 days more, so that it lasts at least 30 days from the last login.
 */
const trustRefreshMs = 30 * dayMs;
const trustMs = 30 * dayMs + trustRefreshMs;
/** The most networks that an account trusts, and the most accounts of one username over time. */
const trustedMax = 64;
const accountsMax = 8;
const countersMax = 512;

export const emptyRecord: ThrottleRecord = { counters: {}, trusted: {} };
const zero: Counter = { failures: 0, places: {}, failedAtMs: 0, nextAtMs: 0 };

const placesOf = ({ places }: Counter) => Object.keys(places).length;

/**
 * Drops what has expired and what is beyond the bounds. Times that lie ahead were written by a
 * wrong clock: they count as now, and places from then as given back.
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

/** The newest trust of each account, so that no account displaces the trust of another. */
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

/** When nothing of the record matters any more, in milliseconds since the epoch. */
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
 * Takes a place for an attempt in every counter, or in none; keeps places that it has already.
 *
 * @param record the result of {@link prune} at `nowMs`.
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
      // The longest wait is reported, without the head start: attempts at the same time get the
      // same answer.
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

/**
 * Gives back the place of an attempt in each of these counters. If it was the one past the limit,
 * the next one is let through.
 */
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

/** Whether a login from this trusted network has to be noted again. */
export function isTrustStale({ trusted }: ThrottleRecord, trust: string, nowMs: number): boolean {
  // When an account has many networks, those in use must not be the first to be dropped.
  const own = Object.keys(trusted).filter((name) => accountOf(name) === accountOf(trust));
  const isCrowded = own.length > trustedMax / 2;
  return nowMs - (trusted[trust] ?? 0) >= (isCrowded ? dayMs : trustRefreshMs);
}

/** Notes that an account logged in from a network. */
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
