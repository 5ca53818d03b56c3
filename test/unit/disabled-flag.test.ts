/** What the field of an adopted collection says of whether a user may log in. */
import { describe, expect, test } from "@jest/globals";
import { Long } from "mongodb";
import { parseDisabledFlag } from "../../src/store/mongo/disabled-flag.js";
import { toInstant } from "../../src/store/mongo/instant.js";

const past = new Date("2001-01-01T00:00:00Z");
const future = new Date("2999-01-01T00:00:00Z");

describe.each<[string, unknown[], unknown[]]>([
  [
    "disabled",
    [undefined, null, false, 0, "active", "enabled"],
    [true, 1, "", "false", "true", "disabled", "banned", past, future, {}, [], NaN, -1],
  ],
  [
    "!is_active",
    [true, 1, "active", "enabled"],
    [undefined, null, false, 0, "", "true", "disabled", past, {}, [], 2],
  ],
  ["status=banned,closed", [undefined, null, "active", "", 0, "BANNED", {}], ["banned", "closed"]],
  ["!status=active,3", ["active", 3, "3"], [undefined, null, "", "banned", true, {}]],
  ["active=false", [undefined, null, true, "yes", 0], [false, "false"]],
  ["locked_at:date", [undefined, null, false], [past, future, "2001-01-01"]],
  [
    "locked_until>now",
    [undefined, null, past, 0, past.getTime(), past.toISOString(), { DateTime: past }],
    [future, future.getTime(), future.toISOString(), { DateTime: future }, true, {}, "soon", 7],
  ],
])("%s", (text, enabled, disabled) => {
  const flag = parseDisabledFlag(text);

  test("tells the enabled from the disabled", () => {
    for (const value of enabled) expect([value, flag.isDisabled(value)]).toEqual([value, false]);
    for (const value of disabled) expect([value, flag.isDisabled(value)]).toEqual([value, true]);
  });

  test("what it writes means what was meant", () => {
    expect(flag.isDisabled(flag.valueFor(true))).toBe(true);
    expect(flag.isDisabled(flag.valueFor(false))).toBe(false);
  });
});

test(".NET's DateTimeOffset is read in both of its forms", () => {
  const ticks = Long.fromString("638134001551370000");
  expect(toInstant([ticks, 60])?.toISOString()).toBe("2023-03-02T23:29:15.137Z");
  expect(toInstant({ DateTime: past, Ticks: 1, Offset: 0 })).toEqual(past);
});
