import { describe, expect, test } from "@jest/globals";
import { parseProxyHeader } from "../../src/server/proxy-protocol.js";
import { binaryHeader } from "../support/proxy-header.js";

const longest = "PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".replaceAll(
  "ffff:f...f:ffff",
  Array<string>(8).fill("ffff").join(":"),
);
const headers: readonly (readonly [string, Buffer, string | undefined])[] = [
  ["version 1, IPv4", Buffer.from("PROXY TCP4 192.0.2.1 198.51.100.1 1 65535\r\n"), "192.0.2.1"],
  ["version 1, IPv6", Buffer.from("PROXY TCP6 2001:db8::1 ::1 1 2\r\n"), "2001:db8::1"],
  ["version 1, its longest", Buffer.from(longest), longest.split(" ")[2]],
  ["version 1, unknown", Buffer.from("PROXY UNKNOWN\r\n"), undefined],
  ["version 1, unknown with more", Buffer.from("PROXY UNKNOWN ff 1 2\r\n"), undefined],
  ["version 2, IPv4", binaryHeader("192.0.2.1"), "192.0.2.1"],
  ["version 2 with additions", binaryHeader("192.0.2.1", Buffer.alloc(500)), "192.0.2.1"],
  [
    "version 2, IPv6",
    binaryHeader("2001:db8:0:0:0:0:0:1"),
    "2001:0db8:0000:0000:0000:0000:0000:0001",
  ],
  ["version 2, LOCAL", binaryHeader(undefined), undefined],
];

describe.each(headers)("%s", (_, header, address) => {
  test("is read however much of what follows has come", () => {
    for (const rest of ["", "GET / HTTP/1.1\r\n"]) {
      const bytes = Buffer.concat([header, Buffer.from(rest)]);
      expect(parseProxyHeader(bytes)).toEqual({ length: header.length, address });
    }
  });

  test("needs more while it is not whole", () => {
    for (let length = 1; length < header.length; length++) {
      expect(parseProxyHeader(header.subarray(0, length))).toBeUndefined();
    }
  });
});

test.each([
  ["HTTP", "GET / HTTP/1.1\r\n"],
  ["HTTP/2", "PRI * HTTP/2.0\r\n"],
  ["TLS", "\x16\x03\x01"],
  ["an address that is none", "PROXY TCP4 192.0.2.999 198.51.100.1 1 2\r\n"],
  ["an address of the other family", "PROXY TCP4 ::1 ::1 1 2\r\n"],
  ["a header without an end", `PROXY TCP4 ${" ".repeat(107)}`],
  ["another version", "\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0"],
  ["additions without end", "\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"],
  ["addresses that stop short", "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02ab"],
])("refuses %s", (_, text) => {
  expect(() => parseProxyHeader(Buffer.from(text, "latin1"))).toThrow("no PROXY protocol header");
});
