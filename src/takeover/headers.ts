/** What of a message's headers is passed on (RFC 9110 section 7.6.1). Depends on nothing. */

const hopByHop = new Set([
  ...["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"],
  ...["trailer", "proxy-authenticate", "proxy-authorization"],
]);

/** Written by whoever sends the request on: the body is whole here, and the address is another. */
const requestOwn = new Set(["host", "content-length", "expect", "x-forwarded-for"]);

/** Pairs of a list of names and values in turn. */
export function* pairsOf(raw: readonly string[]): Generator<readonly [string, string]> {
  for (let i = 0; i + 1 < raw.length; i += 2) yield [raw[i] ?? "", raw[i + 1] ?? ""];
}

/** The names that `Connection` lists are of one hop too. */
function namesOfOneHop(raw: readonly string[]): ReadonlySet<string> {
  let names: Set<string> | undefined;
  for (const [name, value] of pairsOf(raw)) {
    if (name.length !== 10 || name.toLowerCase() !== "connection") continue;
    if (/^(keep-alive|close)$/i.test(value)) continue;
    names ??= new Set(hopByHop);
    for (const token of value.split(",")) names.add(token.trim().toLowerCase());
  }
  return names ?? hopByHop;
}

/** The headers of a request as the next server gets them, names and values in turn. */
export function requestHeaders(raw: readonly string[], peerAddress: string): string[] {
  const dropped = namesOfOneHop(raw);
  const kept: string[] = [];
  const forwardedFor: string[] = [];
  for (const [name, value] of pairsOf(raw)) {
    const lower = name.toLowerCase();
    if (lower === "x-forwarded-for") forwardedFor.push(value);
    // HTTP/2 has pseudo-headers among them.
    if (dropped.has(lower) || requestOwn.has(lower) || lower.startsWith(":")) continue;
    kept.push(name, value);
  }
  kept.push("x-forwarded-for", [...forwardedFor, peerAddress].join(", "));
  return kept;
}

/** The headers of an answer as the client gets them; unless it is to HEAD, the length is that of the body. */
export function answerHeaders(
  raw: readonly string[],
  method = "POST",
): Record<string, string | string[]> {
  const dropped = namesOfOneHop(raw);
  const kept: Record<string, string | string[]> = {};
  for (const [name, value] of pairsOf(raw)) {
    const lower = name.toLowerCase();
    if (dropped.has(lower) || (lower === "content-length" && method !== "HEAD")) continue;
    const earlier = kept[lower];
    kept[lower] = earlier === undefined ? value : [earlier, value].flat();
  }
  return kept;
}
