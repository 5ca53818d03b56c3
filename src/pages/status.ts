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
  readonly breaker: string;
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
  };
}
