import { describe, expect, test } from "@jest/globals";
import { foldUsername } from "../../src/auth/throttle/username-fold.js";
import { usernameKeyFor } from "../../src/config/presets.js";

describe("foldUsername", () => {
  test.each([
    ["TestUser", "testuser"],
    ["ＴｅｓｔＵｓｅｒ", "TestUser"],
    ["Jose\u0301", "JOSÉ"],
    ["straße", "STRASSE"],
    ["ſs", "ss"],
    ["οδος", "ΟΔΟΣ"],
    ["ﬁn", "FIN"],
    ["\u212a", "k"],
  ])("%s and %s are one", (a, b) => expect(foldUsername(a)).toBe(foldUsername(b)));

  test.each([
    ["a", "b"],
    ["jose", "josé"],
    ["a b", "ab"],
    ["a\0", "a"],
  ])("%j and %j are two", (a, b) => expect(foldUsername(a)).not.toBe(foldUsername(b)));

  test("every character is one with its variants", () => {
    const failed: string[] = [];
    for (let point = 1; point < 0x2_0000; point++) {
      if (point >= 0xd800 && point < 0xe000) continue;
      const text = String.fromCodePoint(point);
      const variants = [
        text.toUpperCase(),
        text.toLowerCase(),
        ...["NFC", "NFD", "NFKC", "NFKD"].map((form) => text.normalize(form)),
      ];
      const folded = foldUsername(text);
      if (variants.some((variant) => foldUsername(variant) !== folded)) failed.push(text);
    }
    expect(failed).toEqual([]);
  });
});

test.each([
  ["exact", undefined, "Ann", false],
  ["exact", undefined, " ann", false],
  ["ignore-case", undefined, "ANN", true],
  ["exact", "devise", " \tAnn ", true],
  ["exact", "meteor", "ANN", true],
  ["exact", "meteor", "ann ", false],
] as const)("by %s and %s %j is the key of ann: %s", (match, preset, spelling, isOne) => {
  // What finds one user must not be counted as several names.
  const key = usernameKeyFor({ USERNAME_MATCH: match, USERS_PRESET: preset });
  expect(key(spelling) === key("ann")).toBe(isOne);
});
