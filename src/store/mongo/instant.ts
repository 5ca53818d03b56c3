/** Points in time as frameworks leave them in MongoDB. Depends on mongodb's BSON types. */
import { Long, Timestamp } from "mongodb";

/** An instant after every other: no token is later. */
const endOfTime = new Date(8.64e15);
const isoInstant = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(Z|[+-]\d\d:?\d\d)?$/;
/** Smaller numbers of milliseconds lie before 1973, larger ones of seconds after 5138. */
const millisecondsMin = 1e11;
/** What is smaller is no point in time that anybody would keep: it lies before 1973 as seconds too. */
const secondsMin = 1e8;
const ticksPerMillisecond = 10_000;
/** From the first year of .NET's ticks to 1970. */
const ticksEpochMs = 62_135_596_800_000;

/**
 * A date, milliseconds or seconds since 1970, ISO 8601, UTC where it has no zone, a BSON timestamp, or
 * what .NET writes for a `DateTimeOffset`: `[ticks, minutes]` or a document with `DateTime`. What
 * cannot be read is the end of time: a revocation that is there must not be overlooked.
 */
export function toInstant(value: unknown): Date | undefined {
  if (value === undefined || value === null) return undefined;
  const instant = read(value);
  return instant === undefined || Number.isNaN(instant.getTime()) ? endOfTime : instant;
}

/** Whether a value that is there can be read. */
export const isReadableInstant = (value: unknown) => toInstant(value) !== endOfTime;

function read(value: unknown): Date | undefined {
  if (value instanceof Date) return value;
  if (value instanceof Timestamp) return new Date(value.t * 1000);
  if (value instanceof Long) return read(value.toNumber());
  if (typeof value === "number") return fromNumber(value);
  if (typeof value === "string") return fromText(value);
  if (Array.isArray(value) && value.length === 2) {
    const [ticks, minutes] = value.map(Number) as [number, number];
    return new Date(ticks / ticksPerMillisecond - ticksEpochMs - minutes * 60_000);
  }
  return typeof value === "object" && value !== null && "DateTime" in value
    ? toInstant(value.DateTime)
    : undefined;
}

function fromNumber(value: number): Date | undefined {
  if (value === 0 || value >= millisecondsMin) return new Date(value);
  return value >= secondsMin ? new Date(value * 1000) : undefined;
}

function fromText(text: string): Date | undefined {
  const [, day, time, zone = "Z"] = isoInstant.exec(text) ?? [];
  return day === undefined
    ? undefined
    : new Date(`${day}T${time}${zone.replace(/^(...)(\d\d)$/, "$1:$2")}`);
}
