import { describe, expect, test } from "@jest/globals";
import { parseJson } from "../../src/auth/json.js";

const parse = (text: string) => parseJson(Buffer.from(text));

describe("parseJson", () => {
  test.each([
    ['{"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]}', { a: 1, b: { a: 2 }, c: [{ a: 3 }, { a: 4 }] }],
    ['{"a":"\\"a\\":{","b":"}"}', { a: '"a":{', b: "}" }],
    ['["a","a"]', ["a", "a"]],
    ['{"a":["a",{"b":"a"}],"b":"a"}', { a: ["a", { b: "a" }], b: "a" }],
    ['{"\\ud83d\\ude00":1}', { "😀": 1 }],
    ["null", null],
  ])("reads %s", (text, value) => {
    expect(parse(text)).toEqual(value);
  });

  test.each([
    ["a repeated name", '{"a":1,"a":1}'],
    ["a repeated name, one escaped", '{"a":1,"\\u0061":2}'],
    ["a repeated name in an inner object", '[{"b":{"a":1,"c":[],"a":2}}]'],
    ["a repeated name after an array", '{"a":[1,2],"a":2}'],
    ["an unpaired surrogate", '{"a":"\\ud83d"}'],
    ["an unpaired surrogate before an emoji", '{"a":"\\ud83d😀"}'],
    ["a byte order mark", "\ufeff{}"],
    ["what is not JSON", "{a:1}"],
    ["nothing", ""],
  ])("refuses %s", (_, text) => {
    expect(() => parse(text)).toThrow();
  });

  test("refuses what is not UTF-8", () => {
    expect(() => parseJson(Buffer.from([0x22, 0xff, 0x22]))).toThrow();
  });
});
