/** What the field of an adopted collection says of whether a user may log in. */
import { describe, expect, test } from "@jest/globals";
import { Long } from "mongodb";
import { DisabledFlag } from "../../src/store/mongo/disabled-flag.js";
import { parseConditions } from "../../src/config/conditions.js";
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
  ["!confirmed_at:date", [past, future, "2001-01-01"], [undefined, null, false]],
  ["!banExpires<now", [past, past.toISOString()], [undefined, null, future, "soon"]],
])("%s", (text, enabled, disabled) => {
  const flag = new DisabledFlag(text);
  const [path = ""] = flag.paths;
  const isDisabled = (value: unknown) => flag.isDisabled((asked) => (asked === path ? value : ""));

  test("tells the enabled from the disabled", () => {
    for (const value of enabled) expect([value, isDisabled(value)]).toEqual([value, false]);
    for (const value of disabled) expect([value, isDisabled(value)]).toEqual([value, true]);
  });

  test("what it writes means what was meant", () => {
    expect(isDisabled(flag.values(true)[path])).toBe(true);
    expect(isDisabled(flag.values(false)[path])).toBe(false);
    for (const value of [...enabled, ...disabled]) {
      for (const wanted of [true, false]) {
        const { [path]: written = value } = flag.changes(wanted, () => value);
        const kept =
          path in flag.changes(wanted, () => value)
            ? flag.changes(wanted, () => value)[path]
            : written;
        expect(isDisabled(kept)).toBe(wanted);
      }
    }
  });
});

test(".NET's DateTimeOffset is read in both of its forms", () => {
  const ticks = Long.fromString("638134001551370000");
  expect(toInstant([ticks, 60])?.toISOString()).toBe("2023-03-02T23:29:15.137Z");
  expect(toInstant({ DateTime: past, Ticks: 1, Offset: 0 })).toEqual(past);
});

describe.each<[string, readonly object[], readonly object[]]>([
  ["blocked,!confirmed", [{ confirmed: true }], [{}, { confirmed: true, blocked: true }]],
  [
    "LockoutEnd>now&!LockoutEnabled=false",
    [{}, { LockoutEnd: past }, { LockoutEnd: future, LockoutEnabled: false }],
    [{ LockoutEnd: future }, { LockoutEnd: future, LockoutEnabled: true }],
  ],
  [
    "!enabled,accountNonLocked=false;credentialsNonExpired=false",
    [{ enabled: true }, { enabled: true, accountNonLocked: true }],
    [
      {},
      { enabled: true, accountNonLocked: false },
      { enabled: true, credentialsNonExpired: false },
    ],
  ],
  [
    "status=banned,closed,!active",
    [{ active: true }, { active: true, status: "open" }],
    [{ active: true, status: "closed" }, { status: "open" }],
  ],
  [
    "!confirmed_at:date&confirmation_sent_at:date",
    [{}, { confirmed_at: past, confirmation_sent_at: past }],
    [{ confirmation_sent_at: past }],
  ],
])("the list %s", (text, enabled, disabled) => {
  const flag = new DisabledFlag(text);
  const lookup = (document: object) => (path: string) =>
    (document as Readonly<Record<string, unknown>>)[path];

  test("disables whoever fits one of its conditions", () => {
    for (const each of enabled)
      expect([each, flag.isDisabled(lookup(each))]).toEqual([each, false]);
    for (const each of disabled)
      expect([each, flag.isDisabled(lookup(each))]).toEqual([each, true]);
  });

  test("what it writes means what was meant, and no more than that", () => {
    for (const each of [...enabled, ...disabled]) {
      for (const wanted of [true, false]) {
        const changes = flag.changes(wanted, lookup(each));
        expect(flag.isDisabled(lookup({ ...each, ...changes }))).toBe(wanted);
        if (flag.isDisabled(lookup(each)) === wanted) expect(changes).toEqual({});
      }
    }
    for (const wanted of [true, false]) {
      expect(flag.isDisabled(lookup(flag.values(wanted)))).toBe(wanted);
    }
  });
});

test.each(["", "!!a", "a,", "a;", "a&", "a=", "a>soon", "a:text", "$a", "a..b"])(
  "%j is no list of conditions",
  (text) => {
    expect(parseConditions(text)).toBeUndefined();
  },
);
