import { describe, expect, test } from "@jest/globals";
import { foldUsername } from "../../src/auth/username-fold.js";

const exact = (username: string) => foldUsername(username, { ignoreAccents: false });
const bare = (username: string) => foldUsername(username, { ignoreAccents: true });

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
  ])("%s and %s are one", (a, b) => expect(exact(a)).toBe(exact(b)));

  test.each([
    ["a", "b"],
    ["jose", "josé"],
    ["a b", "ab"],
    ["a\0", "a"],
  ])("%j and %j are two", (a, b) => expect(exact(a)).not.toBe(exact(b)));

  test.each([
    ["jose", "JOSÉ"],
    ["te\u200dst", "test"],
    ["İstanbul", "istanbul"],
  ])("%s and %s are one without accents", (a, b) => expect(bare(a)).toBe(bare(b)));

  test("holds for every character, its case and its normal forms", () => {
    const failed: string[] = [];
    for (let point = 1; point < 0x2_0000; point++) {
      if (point >= 0xd800 && point < 0xe000) continue;
      const text = String.fromCodePoint(point);
      const variants = [
        text.toUpperCase(),
        text.toLowerCase(),
        ...["NFC", "NFD", "NFKC", "NFKD"].map((form) => text.normalize(form)),
        exact(text),
      ];
      if (variants.some((variant) => exact(variant) !== exact(text))) failed.push(text);
    }
    expect(failed).toEqual([]);
  });
});
