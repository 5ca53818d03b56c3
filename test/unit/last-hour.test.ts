/** The counts of the last hour, minute by minute, by a clock of the test. */
import { expect, test } from "@jest/globals";
import {
  hourMinutes,
  hourWords,
  LastHour,
  sumHours,
  type HourWord,
} from "../../src/observability/last-hour.js";

let now = Date.UTC(2026, 0, 1, 12, 30, 30);
const later = (minutes: number) => (now += minutes * 60_000);
const column = (hour: LastHour, word: HourWord) =>
  hour.read().rows.map((row) => row[hourWords.indexOf(word)]);
const zeros = (count: number) => Array.from({ length: count }, () => 0);

test("every outcome has a column and is counted in its minute; after an hour it is forgotten", () => {
  const hour = new LastHour(() => now);
  for (const word of hourWords) {
    hour.count(word);
    hour.count(word);
  }
  later(1);
  hour.count("accepted");
  expect(column(hour, "accepted")).toEqual([...zeros(58), 2, 1]);
  for (const word of hourWords.slice(1)) expect(column(hour, word)).toEqual([...zeros(58), 2, 0]);
  later(58);
  expect(column(hour, "accepted")).toEqual([2, 1, ...zeros(58)]);
  later(1);
  expect(column(hour, "accepted")).toEqual([1, ...zeros(59)]);
  later(1000);
  expect(column(hour, "accepted")).toEqual(zeros(60));
  hour.count("accepted");
  later(-30);
  hour.count("accepted");
  expect(column(hour, "accepted").at(-1)).toBe(2);
});

test("a renewal is refused for the token's sake, failed for ours", () => {
  const hour = new LastHour(() => now);
  for (const code of ["token_invalid", "token_expired", "invalid_credentials"] as const) {
    hour.countRenewal(code);
  }
  for (const code of ["store_unavailable", "internal"] as const) hour.countRenewal(code);
  hour.countRenewal(undefined);
  const last = (word: HourWord) => column(hour, word).at(-1);
  expect([last("renewed"), last("renewal_refused"), last("renewal_failed")]).toEqual([1, 3, 2]);
});

test("processes whose last minute differs are summed minute by minute", () => {
  const early = new LastHour(() => now);
  early.count("accepted");
  const first = early.read();
  later(2);
  const late = new LastHour(() => now);
  late.count("accepted");
  const { minute, rows } = sumHours([first, late.read()]);
  expect(minute).toBe(Math.floor(now / 60_000));
  expect(rows).toHaveLength(hourMinutes);
  expect(rows.map(([accepted]) => accepted)).toEqual([...zeros(57), 1, 0, 1]);
});
