/** Reads points in time in the forms in which frameworks store them in MongoDB. Depends on mongodb's BSON types. */
import { Long, Timestamp } from "mongodb";

/** The latest date there is: every token is older. */
const endOfTime = new Date(8.64e15);
const isoInstant = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(Z|[+-]\d\d:?\d\d)?$/;
/** Numbers from here on are milliseconds: as seconds they would lie after the year 5138. */
const millisecondsMin = 1e11;
/** Smaller numbers, except 0, are not read: even as seconds they would lie before 1973. */
const secondsMin = 1e8;
const ticksPerMillisecond = 10_000;
/** From the year 1, where .NET's ticks start, to 1970. */
const ticksEpochMs = 62_135_596_800_000;

/**
 * Reads a date, milliseconds or seconds since 1970, ISO 8601 (UTC if it has no zone), a BSON timestamp, or
 * .NET's `DateTimeOffset`: `[ticks, minutes]` or a document with `DateTime`. A value that cannot be read
 * becomes the end of time, so that no revocation is overlooked; a missing one becomes undefined.
 */
export function toInstant(value: unknown): Date | undefined {
  if (value === undefined || value === null) return undefined;
  const instant = read(value);
  return instant === undefined || Number.isNaN(instant.getTime()) ? endOfTime : instant;
}

/** Whether a stored value can be read; true if it is missing. */
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
