/**
 * What is remembered of the failed logins of one username or one network, and what follows from it.
 * Pure: every function is given the time. Depends on nothing.
 *
 * An attempt takes its place in each counter that concerns it BEFORE its password is checked, and
 * gives it back unless it failed. Failures and places together never exceed the limit, so no number
 * of parallel attempts gets more than the limit checked. Who finds all places taken waits for them to
 * be settled: an attempt with the right password is never refused because of others of its kind.
 */

export interface Counter {
  readonly failures: number;
  /** Attempts that are being checked. */
  readonly held: number;
  readonly heldAtMs: number;
  readonly failedAtMs: number;
  /** Past the limit, when the next attempt is let through. */
  readonly slotAtMs: number;
}

export interface ThrottleRecord {
  /** For the operator: the username if there is such a user, or the network. */
  readonly label?: string;
  readonly counters: Readonly<Record<string, Counter>>;
  /**
   * When an account logged in from a network: by the hash of both, a dot between them. Those without
   * a dot were written by a version that kept them by name; they count for every account of the name.
   */
  readonly known: Readonly<Record<string, number>>;
}

/** One counter of a record that an attempt takes a place in. */
export interface Claim {
  readonly counter: string;
  /** Infinity counts without ever refusing. */
  readonly limit: number;
}

export type Decision =
  | { readonly verdict: "granted"; readonly record: ThrottleRecord; readonly slots: string[] }
  | { readonly verdict: "refused"; readonly counter: string; readonly waitMs: number }
  /** All places are taken, or the one attempt of this minute is being checked. */
  | { readonly verdict: "wait" };

/** Past a limit, the time from one attempt to the next. */
export const slotMs = 60_000;
/**
 * What a network that has no failure with a username is ahead of those that have, so that whoever
 * keeps guessing does not take every slot from the user. Slots do not come closer for it.
 */
const headStartMs = 10_000;
/**
 * When a place is taken to be lost with its process or its store. It is given back uncounted: nobody
 * was told what came of that attempt.
 */
const heldMaxMs = 30_000;
const dayMs = 86_400_000;
/**
 * How old the date of a known network becomes before a login renews it: for as long logins from there
 * write nothing. It is kept for as much longer, in favour of the user, so that 30 days since the last
 * login are never cut short.
 */
const knownRefreshMs = 30 * dayMs;
const knownMs = 30 * dayMs + knownRefreshMs;
/** Of one account, and how many accounts whose names fold alike have some. */
const knownMax = 64;
const accountsMax = 256;
const countersMax = 512;

export const emptyRecord: ThrottleRecord = { counters: {}, known: {} };
const zero: Counter = { failures: 0, held: 0, heldAtMs: 0, failedAtMs: 0, slotAtMs: 0 };

/**
 * The record without what is over, and within its bounds. Times that lie ahead were written by a
 * clock that was wrong: they count as now, and a place or a slot of theirs as free.
 */
export function prune(record: ThrottleRecord, nowMs: number, windowMs: number): ThrottleRecord {
  const counters = Object.entries(record.counters).flatMap(([name, stored]) => {
    const counter = correct(stored, nowMs);
    const isOver = counter.held === 0 && nowMs - counter.failedAtMs >= windowMs;
    return isOver || counter.failures + counter.held === 0 ? [] : ([[name, counter]] as const);
  });
  const known = Object.entries(record.known).filter(([, atMs]) => nowMs - atMs < knownMs);
  return {
    ...record,
    counters: Object.fromEntries(newest(counters, ([, { failedAtMs }]) => failedAtMs, countersMax)),
    known: Object.fromEntries(withinBounds(known)),
  };
}

function correct(counter: Counter, nowMs: number): Counter {
  const heldForMs = nowMs - counter.heldAtMs;
  const isLost = heldForMs >= heldMaxMs || heldForMs < -slotMs;
  return {
    ...counter,
    held: isLost ? 0 : counter.held,
    failedAtMs: Math.min(counter.failedAtMs, nowMs),
    slotAtMs: counter.slotAtMs - nowMs > slotMs + headStartMs ? nowMs : counter.slotAtMs,
  };
}

/** The newest of each account: no other account takes them away. */
function withinBounds(known: readonly (readonly [string, number])[]) {
  const accounts = new Map<string, (readonly [string, number])[]>();
  for (const entry of known) {
    const account = accountOf(entry[0]);
    accounts.set(account, [...(accounts.get(account) ?? []), entry]);
  }
  const lastOf = (entries: readonly (readonly [string, number])[]) =>
    Math.max(...entries.map(([, atMs]) => atMs));
  return newest([...accounts.values()], lastOf, accountsMax).flatMap((entries) =>
    newest(entries, ([, atMs]) => atMs, knownMax),
  );
}

const accountOf = (known: string) => (known.includes(".") ? (known.split(".", 1)[0] ?? "") : "");

function newest<T>(entries: readonly T[], atMs: (entry: T) => number, max: number): readonly T[] {
  return entries.length <= max
    ? entries
    : [...entries].sort((a, b) => atMs(b) - atMs(a)).slice(0, max);
}

/** When nothing of the record matters any more. */
export function expiryOf(record: ThrottleRecord, windowMs: number): number {
  return Math.max(
    0,
    ...Object.values(record.counters).map(({ held, heldAtMs, failedAtMs }) =>
      held > 0 ? heldAtMs + heldMaxMs + windowMs : failedAtMs + windowMs,
    ),
    ...Object.values(record.known).map((atMs) => atMs + knownMs),
  );
}

/**
 * Takes a place in every counter claimed, or in none.
 *
 * @param record as {@link prune} left it at `nowMs`.
 * @param hasFailed whether the network has failures with that username.
 */
export function claim(
  record: ThrottleRecord,
  claims: readonly Claim[],
  nowMs: number,
  hasFailed: boolean,
): Decision {
  const counters = { ...record.counters };
  const slots: string[] = [];
  let refusal: Decision | undefined;
  for (const { counter: name, limit } of claims) {
    const counter = counters[name] ?? zero;
    const waitMs = counter.slotAtMs - (hasFailed ? 0 : headStartMs) - nowMs;
    const isPast = counter.failures >= limit;
    if (isPast && counter.held === 0 && waitMs > 0) {
      // Of several refusals the longest wait counts; none is more than the time between two slots.
      if (refusal?.verdict !== "refused" || waitMs > refusal.waitMs)
        refusal = { verdict: "refused", counter: name, waitMs: Math.min(waitMs, slotMs) };
    } else if (isPast ? counter.held > 0 : counter.failures + counter.held >= limit) {
      refusal ??= { verdict: "wait" };
    }
    if (isPast) slots.push(name);
    const slotAtMs = isPast ? Math.max(nowMs, counter.slotAtMs) + slotMs : counter.slotAtMs;
    counters[name] = { ...counter, held: counter.held + 1, heldAtMs: nowMs, slotAtMs };
  }
  return refusal ?? { verdict: "granted", record: { ...record, counters }, slots };
}

/** Turns the place that an attempt took in each of these counters into a failure. */
export function countFailure(
  record: ThrottleRecord,
  counters: readonly string[],
  nowMs: number,
): ThrottleRecord {
  return change(record, counters, (counter = zero) => {
    const held = Math.max(counter.held - 1, 0);
    return fail({ ...counter, held, failures: counter.failures + 1 }, nowMs);
  });
}

/** Gives back the place that an attempt took in each of these counters, and the slots it took. */
export function giveBack(
  record: ThrottleRecord,
  counters: readonly string[],
  slots: readonly string[],
  nowMs: number,
): ThrottleRecord {
  return change(record, counters, (counter, name) => {
    if (counter === undefined) return undefined;
    return {
      ...counter,
      held: Math.max(counter.held - 1, 0),
      slotAtMs: slots.includes(name) ? Math.min(counter.slotAtMs, nowMs) : counter.slotAtMs,
    };
  });
}

/** Whether a login from that network, which is known, has to be noted again. */
export function isKnownStale({ known }: ThrottleRecord, network: string, nowMs: number): boolean {
  // Where networks crowd one another out, those in use must not be the first to go.
  const own = Object.keys(known).filter((name) => accountOf(name) === accountOf(network));
  const isCrowded = own.length > knownMax / 2;
  return nowMs - (known[network] ?? 0) >= (isCrowded ? dayMs : knownRefreshMs);
}

/** Notes a login from that network. */
export function addKnown(record: ThrottleRecord, network: string, nowMs: number): ThrottleRecord {
  return { ...record, known: { ...record.known, [network]: nowMs } };
}

function fail(counter: Counter, nowMs: number): Counter {
  return { ...counter, failedAtMs: nowMs, slotAtMs: Math.max(counter.slotAtMs, nowMs + slotMs) };
}

function change(
  record: ThrottleRecord,
  names: readonly string[],
  edit: (counter: Counter | undefined, name: string) => Counter | undefined,
): ThrottleRecord {
  const counters = { ...record.counters };
  for (const name of names) {
    const counter = edit(counters[name], name);
    if (counter !== undefined) counters[name] = counter;
  }
  return { ...record, counters };
}
