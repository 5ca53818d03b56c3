/** Where a port can be reached. Depends on node only. */
import type { AddressInfo } from "node:net";

export function baseUrl({ address, family, port }: AddressInfo, scheme = "http"): string {
  return `${scheme}://${family === "IPv6" ? `[${address}]` : address}:${port}`;
}
