/**
 * The stored form of a record. Earlier versions read and write it too: they count places without
 * ids, and keep trust in the record of the username. Depends on record.
 */
import type { Counter, Place, ThrottleRecord } from "./record.js";

interface StoredCounter {
  readonly failures: number;
  /** How many places, with and without ids. */
  readonly held: number;
  readonly heldAtMs: number;
  readonly failedAtMs: number;
  readonly slotAtMs: number;
  /** When each place was taken. A 1 after the time marks the one attempt past the limit. */
  readonly places?: Readonly<Record<string, readonly [atMs: number, isNext?: 1]>>;
}

interface StoredRecord {
  readonly label?: string;
  readonly counters: Readonly<Record<string, StoredCounter>>;
  readonly known: Readonly<Record<string, number>>;
}

export function parseRecord(document: string): ThrottleRecord {
  const { counters, known, ...rest } = JSON.parse(document) as StoredRecord;
  return { ...rest, counters: mapValues(counters, parseCounter), trusted: known };
}

export function formatRecord({ counters, trusted, ...rest }: ThrottleRecord): string {
  const stored: StoredRecord = {
    ...rest,
    counters: mapValues(counters, formatCounter),
    known: trusted,
  };
  return JSON.stringify(stored);
}

function parseCounter(stored: StoredCounter): Counter {
  const { failures, held, heldAtMs, failedAtMs, slotAtMs } = stored;
  const places: Record<string, Place> = mapValues(stored.places ?? {}, ([atMs, isNext]) => ({
    atMs,
    isNext: isNext === 1,
  }));
  // Places that an earlier version holds have no ids: here only time gives them back.
  const withoutId = held - Object.keys(places).length;
  for (let i = 0; i < withoutId; i++) places[`-${i}`] = { atMs: heldAtMs, isNext: false };
  return { failures, places, failedAtMs, nextAtMs: slotAtMs };
}

function formatCounter({ failures, places, failedAtMs, nextAtMs }: Counter): StoredCounter {
  const all = Object.entries(places);
  const withId = all.filter(([id]) => !id.startsWith("-"));
  return {
    failures,
    held: all.length,
    heldAtMs: Math.max(0, ...all.map(([, { atMs }]) => atMs)),
    failedAtMs,
    slotAtMs: nextAtMs,
    ...(withId.length > 0 && {
      places: Object.fromEntries(
        withId.map(([id, { atMs, isNext }]) => [id, isNext ? [atMs, 1] : [atMs]]),
      ),
    }),
  };
}

function mapValues<T, U>(
  values: Readonly<Record<string, T>>,
  map: (value: T) => U,
): Record<string, U> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, map(value)]));
}
