/** The progress of a take-over, for operators. Depends on auth's passwords and users, and the port. */
import { setImmediate } from "node:timers/promises";
import { inspectHash } from "../auth/passwords/passwords.js";
import type { UserStore } from "../auth/users.js";
import type { DayCounts, StoredBreaker, StoredDifference, TakeoverStore } from "./store.js";
import { dayOf } from "./tally.js";

const dayMs = 86_400_000;
const forecastDays = 14;

export interface Progress {
  /** Undefined before the first start with `UPSTREAM_URL`. */
  readonly lead: number | undefined;
  /** All users, including those that only the old server knows. */
  readonly users: number;
  /** Users with a usable hash in the users' collection. */
  readonly usable: number;
  /** Users whose password was learnt. */
  readonly learnt: number;
  /** Users with neither a usable nor a learnt hash. */
  readonly unknown: number;
  readonly differences: readonly StoredDifference[];
  /** The last change of the circuit breaker; undefined if it was closed all the time. */
  readonly breaker: StoredBreaker | undefined;
  /** The last 14 days with a login, oldest first. */
  readonly days: readonly DayCounts[];
  readonly forecast: Forecast;
}

/** The day by which 95 or 99 per cent of the users who log in will be known beforehand; null if not foreseeable. */
export interface Forecast {
  readonly "95": string | null;
  readonly "99": string | null;
}

export async function readProgress(
  store: TakeoverStore,
  users: Pick<UserStore, "list">,
  nowMs: number,
): Promise<Progress> {
  const [lead, differences, days, learned, census] = [
    await store.lead(),
    await store.differences(),
    await store.days(dayOf(nowMs - (forecastDays - 1) * dayMs)),
    await store.count(),
    await countUsers(store, users),
  ];
  const strangers = learned.users - census.heardOf;
  return {
    lead: lead?.percent,
    users: census.users + strangers,
    usable: census.usable,
    learnt: learned.hashes,
    unknown: census.unknown + (strangers - (learned.hashes - census.learnt)),
    differences,
    breaker: await store.breaker(),
    days,
    forecast: forecastOf(days, nowMs),
  };
}

const pageUsers = 256;

async function countUsers(store: TakeoverStore, users: Pick<UserStore, "list">) {
  const counts = { users: 0, usable: 0, learnt: 0, unknown: 0, heardOf: 0 };
  let page: { subject: string; isUsable: boolean }[] = [];
  const settle = async () => {
    const heard = await store.findAll(page.map(({ subject }) => subject));
    const learnt = new Set(heard.flatMap(({ subject, hash }) => (hash ? subject : [])));
    counts.heardOf += heard.length;
    counts.learnt += learnt.size;
    for (const { subject, isUsable } of page) {
      counts.users++;
      if (isUsable) counts.usable++;
      else if (!learnt.has(subject)) counts.unknown++;
    }
    page = [];
    // The embedded store never waits: without this, a server could answer nobody until all users are counted.
    await setImmediate();
  };
  for await (const { id, passwordHash } of users.list()) {
    const isUsable = passwordHash !== undefined && inspectHash(passwordHash).verdict === "ok";
    if (page.push({ subject: id.value, isUsable }) >= pageUsers) await settle();
  }
  await settle();
  return counts;
}

/**
 * Forecasts when enough of the users who log in are known. The share of unknown ones shrinks by about the same
 * factor each day, so a line is fitted to its logarithms.
 */
export function forecastOf(days: readonly DayCounts[], nowMs: number): Forecast {
  const today = Math.floor(nowMs / dayMs);
  const points = days.flatMap(({ day, counts }) => {
    const { known = 0, first = 0 } = counts;
    const all = known + first;
    // Counts half a user if there was none, because 0 has no logarithm.
    const miss = Math.max(first, 0.5) / all;
    const age = Date.parse(day) / dayMs - today;
    return all === 0 || age <= -forecastDays ? [] : { x: age, y: Math.log(Math.min(1, miss)), all };
  });
  const line = lineThrough(points);
  const dayBy = (miss: number) => {
    if (line === undefined) return null;
    const { atZero, slope } = line;
    if (atZero <= Math.log(miss)) return dayOf(nowMs);
    if (slope >= 0) return null;
    const daysLeft = Math.ceil((Math.log(miss) - atZero) / slope);
    return daysLeft > 3660 ? null : dayOf(nowMs + daysLeft * dayMs);
  };
  return { "95": dayBy(0.05), "99": dayBy(0.01) };
}

interface Point {
  readonly x: number;
  readonly y: number;
}

/** Fits a line by least squares; undefined for fewer than two points. */
function lineThrough(points: readonly Point[]): { atZero: number; slope: number } | undefined {
  if (points.length < 2) return undefined;
  const mean = (of: (point: Point) => number) =>
    points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const [x, y] = [mean((point) => point.x), mean((point) => point.y)];
  const slope =
    mean((point) => (point.x - x) * (point.y - y)) / mean((point) => (point.x - x) ** 2);
  return { atZero: y - slope * x, slope };
}

/** How many kinds of difference were seen within the last `days`. */
export const recentDifferences = (
  { differences }: Pick<Progress, "differences">,
  days: number,
  nowMs: number,
) => differences.filter(({ lastAtMs }) => lastAtMs > nowMs - days * dayMs).length;

/** Why Latchkey should not lead yet; undefined if the last `wantedDays` were compared without a difference. */
export function notReadyBecause(
  progress: Pick<Progress, "differences" | "days">,
  wantedDays: number,
  nowMs: number,
): string | undefined {
  const recent = recentDifferences(progress, wantedDays, nowMs);
  if (recent > 0) return `${recent} kinds of difference in the last ${wantedDays} days`;
  const compared = progress.days.filter(({ counts }) => (counts["compared"] ?? 0) > 0);
  if (compared.length === 0) return "nothing was compared yet";
  const first = compared[0]?.day ?? "";
  return first > dayOf(nowMs - wantedDays * dayMs) ? `compared since ${first} only` : undefined;
}
