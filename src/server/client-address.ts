/**
 * Finds the client's address, through trusted proxies only, and the network that it counts for.
 * Depends on node:net.
 */
import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";
import type { NodeRequest } from "./exchange.js";

/** The number of proxies in front, or their networks (CIDR) and addresses. */
export type TrustedProxies = number | readonly string[];

/** The address of a request whose socket is closed, or whose headers contradict each other. */
const unknownAddress = "unknown";

type Request = Pick<NodeRequest, "headers"> & {
  readonly socket: { readonly remoteAddress?: string | undefined };
};

/**
 * Returns the reader of client addresses for these proxies; undefined trusts the socket alone.
 *
 * Reads `X-Forwarded-For` and `Forwarded` (RFC 7239) from the right, and each entry only if the
 * address that added it is trusted. Stops before an entry that is no address. If the two headers
 * differ, the address is `unknown`: a proxy writes only one of them and passes on the client's
 * version of the other, and no client may make itself count as the proxy.
 */
export function createClientAddressReader(
  trusted: TrustedProxies | undefined,
): (request: Request) => string {
  const isTrusted = trustOf(trusted);
  return ({ socket, headers }) => {
    let address = parseAddress(socket.remoteAddress ?? "") ?? unknownAddress;
    if (trusted === undefined) return address;
    const chains = [
      entriesFromTheRight(headers["x-forwarded-for"], parseNode),
      entriesFromTheRight(headers.forwarded, parseElement),
    ].filter((chain) => chain !== undefined);
    for (let hop = 0; isTrusted(address, hop); hop++) {
      const [next, ...others] = chains.map((chain) => chain.next().value);
      if (others.some((other) => other !== next)) return unknownAddress;
      if (next === undefined) break;
      address = next;
    }
    return address;
  };
}

function trustOf(trusted: TrustedProxies = 0): (address: string, hop: number) => boolean {
  if (typeof trusted === "number") return (_, hop) => hop < trusted;
  const contains = createNetworkMatcher(trusted);
  return (address) => contains(address);
}

/**
 * Returns a function that tells whether a network, as {@link networkOf} names it, overlaps one of
 * the networks (CIDR).
 */
export function createExemption(networks: readonly string[]): (network: string) => boolean {
  const widened = networks.map((network) => {
    const [address = "", prefix = 128] = network.split("/");
    return isIPv6(address) && Number(prefix) > 64 ? networkOf(address) : network;
  });
  const contains = createNetworkMatcher(widened);
  return (network) => contains(network.replace(/\/64$/, ""));
}

/**
 * Returns a function that tells whether an address is in one of the networks (CIDR) or addresses.
 */
export function createNetworkMatcher(networks: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const network of networks) {
    const [address = "", prefix] = network.split("/");
    const family = isIPv6(address) ? "ipv6" : "ipv4";
    list.addSubnet(address, Number(prefix ?? (family === "ipv6" ? 128 : 32)), family);
  }
  return (address) => isIP(address) !== 0 && list.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}

/** The network that guesses are counted by: an IPv4 address itself, the /64 of an IPv6 address. */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address;
  return `${groupsOf(address).slice(0, 4).join(":")}::/64`;
}

/** The canonical form of an address; undefined if the text is not an address. */
function parseAddress(text: string): string | undefined {
  // The link-local address of a socket ends with the name of its interface.
  const address = text.replace(/%.*$/, "").replace(/^::ffff:(?=[\d.]+$)/, "");
  if (isIPv4(address)) return address;
  if (!isIPv6(address)) return undefined;
  const groups = groupsOf(address);
  const isMapped = groups.slice(0, 6).join(":") === "0:0:0:0:0:ffff";
  if (!isMapped) return groups.join(":");
  const bytes = groups.slice(6).flatMap((group) => {
    const value = parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
  return bytes.join(".");
}

/** The eight groups of an IPv6 address, without leading zeros. */
function groupsOf(address: string): string[] {
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = "", tail] = canonical.split("::");
  const left = head.split(":").filter(Boolean);
  const right = (tail ?? "").split(":").filter(Boolean);
  return [...left, ...Array<string>(8 - left.length - right.length).fill("0"), ...right];
}

/** The addresses in a header, the last one first; undefined without the header. */
function entriesFromTheRight(
  header: string | string[] | undefined,
  parse: (entry: string) => string | undefined,
): Iterator<string | undefined, undefined> | undefined {
  if (header === undefined) return undefined;
  const text = Array.isArray(header) ? header.join(",") : header;
  return (function* () {
    for (let end = text.length; end >= 0;) {
      const comma = lastComma(text, end);
      yield parse(text.slice(comma + 1, end).trim());
      end = comma;
    }
    return undefined;
  })();
}

/** The last comma before `end` outside quoted strings, or -1. */
function lastComma(text: string, end: number): number {
  let isQuoted = false;
  for (let at = end - 1; at >= 0; at--) {
    if (text[at] === '"' && text[at - 1] !== "\\") isQuoted = !isQuoted;
    if (text[at] === "," && !isQuoted) return at;
  }
  return -1;
}

// RFC 7239 section 6, and what proxies write into X-Forwarded-For: an IPv6 address with or without
// brackets, a port where there is no doubt.
const nodeForm = /^(?:(\d+(?:\.\d+){3})|\[([\da-f:.]+)\])(?::\d{1,5})?$/i;

function parseNode(node: string): string | undefined {
  const [, ipv4, ipv6] = nodeForm.exec(node) ?? [];
  return isIP(node) === 0 ? parseAddress(ipv4 ?? ipv6 ?? "") : parseAddress(node);
}

/** The `for` of a forwarded-element (RFC 7239 section 4); undefined for `unknown` and for names. */
function parseElement(element: string): string | undefined {
  const nodes = element.split(";").flatMap((pair) => {
    const [, token, quoted] = /^\s*for=(?:([^\s",;]+)|"([^"\\]*)")\s*$/i.exec(pair) ?? [];
    return token ?? quoted ?? [];
  });
  return nodes.length === 1 && nodes[0] !== undefined ? parseNode(nodes[0]) : undefined;
}
