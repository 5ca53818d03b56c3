import { describe, expect, test } from "@jest/globals";
import {
  ConfigError,
  describeConfig,
  parseConfig,
  type Environment,
} from "../../src/config/config.js";

const bytes = Buffer.alloc(32, 0xfb);
const [hex, base64] = [bytes.toString("hex"), bytes.toString("base64")];
const other = Buffer.alloc(32, 1).toString("base64url");

function faultOf(env: Environment): string {
  try {
    parseConfig(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
  }
  return "";
}

describe("KEY_ENCRYPTION_KEY", () => {
  test.each([
    [hex, 1],
    [hex.toUpperCase(), 1],
    [base64, 1],
    [base64.replace("=", ""), 1],
    [`${base64}, ${other}`, 2],
  ])("%s", (value, count) => {
    const keys = parseConfig({ KEY_ENCRYPTION_KEY: value }).KEY_ENCRYPTION_KEY;
    expect(keys).toHaveLength(count);
    expect(keys?.[0]).toEqual(bytes);
  });

  test.each([
    "secret",
    hex.slice(2),
    `${base64}A`,
    base64.replace("+", "*"),
    `${base64},`,
    `${base64},${hex}`,
    `${base64},${other},${Buffer.alloc(32, 2).toString("hex")}`,
  ])("%s is a fault that does not show it", (value) => {
    const fault = faultOf({ KEY_ENCRYPTION_KEY: value });
    expect(fault).toContain("KEY_ENCRYPTION_KEY must be");
    expect(fault).not.toContain(value);
  });

  test("is masked", () => {
    expect(describeConfig({ KEY_ENCRYPTION_KEY: hex }).KEY_ENCRYPTION_KEY).toBe("********");
  });
});

test("KEY_ROTATION_INTERVAL is at least 2 s and not much shorter than TOKEN_TTL", () => {
  expect(parseConfig({}).KEY_ROTATION_INTERVAL).toBe(30 * 86_400);
  expect(parseConfig({ KEY_ROTATION_INTERVAL: "2s", TOKEN_TTL: "60s" })).toBeDefined();
  expect(faultOf({ KEY_ROTATION_INTERVAL: "2s" })).toContain("KEY_ROTATION_INTERVAL must be");
  expect(faultOf({ KEY_ROTATION_INTERVAL: "1s", TOKEN_TTL: "5s" })).toContain("from 2 s");
});
