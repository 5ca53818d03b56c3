/** The data of the status page, collected from all processes. Depends on observability. */
import { sumHours, type HourCounts } from "../observability/last-hour.js";

/** The state of one process. Plain data, because workers send it to the primary. */
export interface ProcessStatus {
  readonly startedAt: number;
  readonly hour: HourCounts;
  readonly hashes: { readonly running: number; readonly waiting: number };
  readonly hashLimits: { readonly running: number; readonly waiting: number };
  readonly throttle: { readonly isOn: boolean };
  readonly keys: readonly StatusKey[];
  readonly sample:
    { readonly at: number; readonly families: Readonly<Record<string, number>> } | undefined;
  readonly takeover: StatusTakeover | undefined;
}

/** Times are in milliseconds since 1970. */
export interface StatusKey {
  readonly kid: string;
  readonly state: string;
  readonly since: number | undefined;
  readonly next: { readonly step: string; readonly at: number } | undefined;
}

export interface StatusTakeover {
  /** Per cent of the usernames; undefined if the store has not answered yet. */
  readonly lead: number | undefined;
  /** Of several processes, the worst. */
  readonly breaker: "closed" | "trying" | "open";
  /** The last count, which may have been some time ago; undefined before the first one. */
  readonly progress: TakeoverProgress | undefined;
}

export interface TakeoverProgress {
  readonly at: number;
  readonly users: number;
  readonly learnt: number;
  /** Users without a usable and without a learnt hash. */
  readonly unknown: number;
  /** Kinds of difference that were seen within the last seven days. */
  readonly differences: number;
  /** The days by which 95 and 99 per cent of the users who log in are known; null if not foreseeable. */
  readonly forecast: { readonly "95": string | null; readonly "99": string | null };
}

export interface Status {
  readonly version: string;
  readonly now: number;
  readonly processes: number;
  readonly problems: Readonly<Record<string, string>>;
  /** Undefined if no process has reported yet. */
  readonly status: ProcessStatus | undefined;
}

/** The sum over all processes; undefined if none has reported yet. */
export function mergeStatuses(all: readonly ProcessStatus[]): ProcessStatus | undefined {
  const [first, ...others] = all;
  if (first === undefined || others.length === 0) return first;
  const sum = (read: (each: ProcessStatus) => { running: number; waiting: number }) => ({
    running: all.reduce((total, each) => total + read(each).running, 0),
    waiting: all.reduce((total, each) => total + read(each).waiting, 0),
  });
  return {
    ...first,
    startedAt: Math.min(...all.map(({ startedAt }) => startedAt)),
    hour: sumHours(all.map(({ hour }) => hour)),
    hashes: sum(({ hashes }) => hashes),
    hashLimits: sum(({ hashLimits }) => hashLimits),
    keys: all.find(({ keys }) => keys.length > 0)?.keys ?? [],
    sample: all.find(({ sample }) => sample !== undefined)?.sample,
    takeover: mergeTakeovers(all.flatMap(({ takeover }) => takeover ?? [])),
  };
}

function mergeTakeovers(all: readonly StatusTakeover[]): StatusTakeover | undefined {
  const [first] = all;
  if (first === undefined) return undefined;
  const breakers = all.map(({ breaker }) => breaker);
  return {
    lead: all.find(({ lead }) => lead !== undefined)?.lead,
    breaker: (["open", "trying"] as const).find((each) => breakers.includes(each)) ?? "closed",
    progress: all
      .flatMap(({ progress }) => progress ?? [])
      .reduce<TakeoverProgress | undefined>(
        (last, each) => (last && last.at >= each.at ? last : each),
        undefined,
      ),
  };
}
