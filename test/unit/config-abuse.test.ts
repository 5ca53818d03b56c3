import { describe, expect, test } from "@jest/globals";
import { parseConfig } from "../../src/config/config.js";

describe("the configuration against abuse", () => {
  test("has defaults", () => {
    const config = parseConfig({});
    expect(config.HASH_CONCURRENCY).toBeGreaterThanOrEqual(1);
    expect(config).toMatchObject({
      HASH_QUEUE_MAX: 256,
      THROTTLE_FAILURES: 10,
      THROTTLE_USER_FAILURES: 100,
      THROTTLE_NETWORK_FAILURES: 100,
      THROTTLE_WINDOW: 900,
      THROTTLE_EXEMPT_NETWORKS: undefined,
      TRUST_PROXY: undefined,
    });
  });

  test.each([
    ["2", 2],
    ["0", 0],
    ["10.0.0.0/8", ["10.0.0.0/8"]],
    ["10.0.0.1, 2001:db8::/32", ["10.0.0.1", "2001:db8::/32"]],
  ])("TRUST_PROXY=%s", (value, parsed) => {
    expect(parseConfig({ TRUST_PROXY: value }).TRUST_PROXY).toEqual(parsed);
  });

  test.each([
    ["TRUST_PROXY", "-1"],
    ["TRUST_PROXY", "true"],
    ["TRUST_PROXY", "10.0.0.0/33"],
    ["TRUST_PROXY", "2001:db8::/129"],
    ["TRUST_PROXY", "10.0.0.0/8/8"],
    ["TRUST_PROXY", "10.0.0.0/"],
    ["TRUST_PROXY", "10.0.0.1,"],
    ["THROTTLE_EXEMPT_NETWORKS", "localhost"],
    ["THROTTLE_USER_FAILURES", "0"],
    ["HASH_CONCURRENCY", "0"],
  ])("%s=%s is a fault", (name, value) => {
    expect(() => parseConfig({ [name]: value })).toThrow(name);
  });
});
