/** PROXY protocol headers, version 2, as a load balancer writes them. */
import { isIPv6 } from "node:net";

const signature = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");

/** @param address without `::`; undefined for a LOCAL header. */
export function binaryHeader(address: string | undefined, additions = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt8(address === undefined ? 0x20 : 0x21, 0);
  if (address === undefined) return Buffer.concat([signature, head]);
  const source = isIPv6(address)
    ? Buffer.concat(address.split(":").map((group) => Buffer.from(group.padStart(4, "0"), "hex")))
    : Buffer.from(address.split(".").map(Number));
  const rest = Buffer.concat([source, source, Buffer.from([0, 1, 0, 2]), additions]);
  head.writeUInt8(source.length === 4 ? 0x11 : 0x21, 1);
  head.writeUInt16BE(rest.length, 2);
  return Buffer.concat([signature, head, rest]);
}
