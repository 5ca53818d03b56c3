/** Points in time as frameworks leave them in MongoDB. Depends on nothing. */

/** An instant after every other: no token is later. */
const endOfTime = new Date(8.64e15);
const isoInstant = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/;
/** Smaller numbers of milliseconds lie before 1973: they are seconds, most likely. */
const millisecondsMin = 1e11;
const ticksPerMillisecond = 10_000;
/** From the first year of .NET's ticks to 1970. */
const ticksEpochMs = 62_135_596_800_000;

/**
 * A date, milliseconds since 1970, ISO 8601 with a zone, or what .NET writes for a `DateTimeOffset`:
 * `[ticks, minutes]` or a document with `DateTime`. What cannot be read is the end of time: a
 * revocation that is there must not be overlooked.
 */
export function toInstant(value: unknown): Date | undefined {
  if (value === undefined || value === null) return undefined;
  if (Array.isArray(value) && value.length === 2) {
    const [ticks, minutes] = value.map(Number) as [number, number];
    return valid(ticks / ticksPerMillisecond - ticksEpochMs - minutes * 60_000);
  }
  if (typeof value === "object" && "DateTime" in value) return toInstant(value.DateTime);
  const isReadable =
    value instanceof Date ||
    (typeof value === "number" && (value === 0 || value >= millisecondsMin)) ||
    (typeof value === "string" && isoInstant.test(value));
  return isReadable ? valid(value) : endOfTime;
}

function valid(value: Date | number | string): Date {
  const instant = new Date(value);
  return Number.isNaN(instant.getTime()) ? endOfTime : instant;
}
