import { describe, expect, test } from "@jest/globals";
import {
  createClientAddressReader,
  createExemption,
  networkOf,
  type TrustedProxies,
} from "../../src/server/client-address.js";

const read = (
  trusted: TrustedProxies | undefined,
  remoteAddress: string | undefined,
  headers: Record<string, string> = {},
) => createClientAddressReader(trusted)({ socket: { remoteAddress }, headers });

const xff = (value: string) => ({ "x-forwarded-for": value });
const forwarded = (value: string) => ({ forwarded: value });

describe("without a trusted proxy", () => {
  test.each([
    ["192.0.2.1", "192.0.2.1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["::ffff:c000:201", "192.0.2.1"],
    ["2001:db8::1", "2001:db8:0:0:0:0:0:1"],
    ["fe80::1%eth0", "fe80:0:0:0:0:0:0:1"],
    ["::1", "0:0:0:0:0:0:0:1"],
    [undefined, "unknown"],
  ])("%s is %s, whatever the headers say", (remote, address) => {
    const headers = { ...xff("198.51.100.9"), ...forwarded("for=198.51.100.9") };
    expect(read(undefined, remote, headers)).toBe(address);
  });
});

describe("behind trusted proxies", () => {
  const proxies = ["10.0.0.0/8", "2001:db8:ffff::/48", "192.0.2.7"];

  test.each<[string, TrustedProxies, string, Record<string, string>, string]>([
    ["one proxy", 1, "10.0.0.1", xff("203.0.113.5"), "203.0.113.5"],
    ["one proxy and a spoof", 1, "10.0.0.1", xff("198.51.100.1, 203.0.113.5"), "203.0.113.5"],
    ["two proxies", 2, "10.0.0.1", xff("1.1.1.1, 203.0.113.5, 10.0.0.2"), "203.0.113.5"],
    ["fewer entries than proxies", 3, "10.0.0.1", xff("203.0.113.5"), "203.0.113.5"],
    ["no header", 1, "10.0.0.1", {}, "10.0.0.1"],
    ["a count of none", 0, "10.0.0.1", xff("203.0.113.5"), "10.0.0.1"],
    ["networks", proxies, "10.1.2.3", xff("1.1.1.1, 203.0.113.5, 10.9.9.9"), "203.0.113.5"],
    ["a single address", proxies, "192.0.2.7", xff("203.0.113.5"), "203.0.113.5"],
    ["a proxy on a mapped socket", proxies, "::ffff:10.1.2.3", xff("203.0.113.5"), "203.0.113.5"],
    ["a mapped entry", proxies, "10.1.2.3", xff("1.1.1.1, ::ffff:203.0.113.5"), "203.0.113.5"],
    ["a mapped proxy", proxies, "10.1.2.3", xff("203.0.113.5, ::ffff:10.0.0.1"), "203.0.113.5"],
    ["a caller who is no proxy", proxies, "203.0.113.9", xff("203.0.113.5"), "203.0.113.9"],
    ["nothing but proxies", proxies, "10.1.2.3", xff("10.0.0.8, 10.0.0.9"), "10.0.0.8"],
    ["a port", 1, "10.0.0.1", xff("203.0.113.5:4711"), "203.0.113.5"],
    ["IPv6", 1, "10.0.0.1", xff("2001:db8::5"), "2001:db8:0:0:0:0:0:5"],
    [
      "IPv6 in brackets with a port",
      1,
      "10.0.0.1",
      xff("[2001:DB8::5]:443"),
      "2001:db8:0:0:0:0:0:5",
    ],
    ["an entry that is no address", 2, "10.0.0.1", xff("203.0.113.5, x, 10.0.0.2"), "10.0.0.2"],
    ["an empty entry", 2, "10.0.0.1", xff("203.0.113.5,"), "10.0.0.1"],
    ["an empty header", 1, "10.0.0.1", xff(""), "10.0.0.1"],
    ["leading zeros", 1, "10.0.0.1", xff("203.0.113.05"), "10.0.0.1"],
    ["a name", 1, "10.0.0.1", xff("localhost"), "10.0.0.1"],
    [
      "Forwarded",
      1,
      "10.0.0.1",
      forwarded("for=203.0.113.5;proto=https;by=10.0.0.1"),
      "203.0.113.5",
    ],
    ["Forwarded, quoted", 1, "10.0.0.1", forwarded('for="203.0.113.5:80"'), "203.0.113.5"],
    [
      "Forwarded in other case",
      1,
      "10.0.0.1",
      forwarded('proto=http; FOR="[2001:db8::5]:1"'),
      "2001:db8:0:0:0:0:0:5",
    ],
    ["Forwarded, spoofed", 1, "10.0.0.1", forwarded("for=1.1.1.1, for=203.0.113.5"), "203.0.113.5"],
    [
      "Forwarded behind an open quote",
      1,
      "10.0.0.1",
      forwarded('for="1.1.1.1, for=203.0.113.5'),
      "203.0.113.5",
    ],
    [
      "Forwarded with a quoted comma",
      2,
      "10.0.0.1",
      forwarded('for=203.0.113.5;x="a,b", for=10.0.0.2'),
      "203.0.113.5",
    ],
    ["Forwarded, unknown", 1, "10.0.0.1", forwarded("for=unknown"), "10.0.0.1"],
    ["Forwarded, hidden", 1, "10.0.0.1", forwarded("for=_secret"), "10.0.0.1"],
    ["Forwarded without for", 1, "10.0.0.1", forwarded("proto=https"), "10.0.0.1"],
    ["Forwarded with two", 1, "10.0.0.1", forwarded("for=1.1.1.1;for=203.0.113.5"), "10.0.0.1"],
    [
      "both headers agreeing",
      1,
      "10.0.0.1",
      { ...xff("203.0.113.5"), ...forwarded("for=203.0.113.5") },
      "203.0.113.5",
    ],
    [
      "both headers at odds",
      1,
      "10.0.0.1",
      { ...xff("203.0.113.5"), ...forwarded("for=1.1.1.1") },
      "unknown",
    ],
    [
      "one of them broken",
      1,
      "10.0.0.1",
      { ...xff("203.0.113.5"), ...forwarded("for=x") },
      "unknown",
    ],
    [
      "both until they part",
      2,
      "10.0.0.1",
      { ...xff("1.1.1.1, 203.0.113.5"), ...forwarded("for=2.2.2.2, for=203.0.113.5") },
      "unknown",
    ],
    [
      "one longer than the other",
      2,
      "10.0.0.1",
      { ...xff("203.0.113.5"), ...forwarded("for=2.2.2.2, for=203.0.113.5") },
      "unknown",
    ],
  ])("%s", (_, trusted, remote, headers, address) => {
    expect(read(trusted, remote, headers)).toBe(address);
  });

  test("a header of nothing but separators takes no time", () => {
    const start = performance.now();
    read(1_000_000, "10.0.0.1", xff(`${"10.0.0.2,".repeat(1800)}10.0.0.2`));
    read(1, "10.0.0.1", forwarded(`${'",'.repeat(8000)}for=1.1.1.1`));
    expect(performance.now() - start).toBeLessThan(1000);
  });
});

test.each([
  ["192.0.2.1", "192.0.2.1"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
  ["2001:db8::1", "2001:db8:0:0::/64"],
  ["unknown", "unknown"],
])("the network of %s is %s", (address, network) => {
  expect(networkOf(address)).toBe(network);
});

test.each([
  ["2001:db8:0:7:0:0:0:9", true],
  ["2001:db9:1:2:3:4:5:6", true],
  ["2001:db9:1:3:3:4:5:6", false],
  ["192.0.2.200", true],
  ["192.0.3.1", false],
  ["unknown", false],
])("the network of %s is exempt: %s", (address, expected) => {
  const isExempt = createExemption(["2001:db8::/32", "2001:db9:1:2::5", "192.0.2.0/24"]);
  expect(isExempt(networkOf(address))).toBe(expected);
});
