/** What of a message's headers is passed on (RFC 9110 section 7.6.1). Depends on nothing. */

const hopByHop = new Set([
  ...["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"],
  ...["trailer", "proxy-authenticate", "proxy-authorization"],
]);

/** Written by whoever sends the request on: the body is whole here, and the address is another. */
const requestOwn = new Set(["host", "content-length", "expect", "x-forwarded-for"]);

type Values = string | string[] | undefined;

/** The names that `Connection` lists are of one hop too. */
function namesOfOneHop(connection: Values): ReadonlySet<string> {
  if (connection === undefined || connection === "keep-alive") return hopByHop;
  const names = String(connection).split(",");
  return new Set([...hopByHop, ...names.map((name) => name.trim().toLowerCase())]);
}

/**
 * The headers of a request as the next server gets them, names and values in turn.
 * @param raw names and values in turn.
 */
export function requestHeaders(
  raw: readonly string[],
  connection: Values,
  peerAddress: string,
): string[] {
  const dropped = namesOfOneHop(connection);
  const kept: string[] = [];
  let forwardedFor = "";
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const [name, value] = [raw[i] ?? "", raw[i + 1] ?? ""];
    const lower = name.toLowerCase();
    if (lower === "x-forwarded-for") forwardedFor += `${value}, `;
    // HTTP/2 has pseudo-headers among them.
    if (dropped.has(lower) || requestOwn.has(lower) || lower.startsWith(":")) continue;
    kept.push(name, value);
  }
  kept.push("x-forwarded-for", forwardedFor + peerAddress);
  return kept;
}

/** The headers of an answer as the client gets them; unless it is to HEAD, the length is that of the body. */
export function answerHeaders(
  headers: Readonly<Record<string, Values>>,
  method = "POST",
): Record<string, Values> {
  const dropped = namesOfOneHop(headers["connection"]);
  const kept: Record<string, Values> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (dropped.has(name) || (name === "content-length" && method !== "HEAD")) continue;
    kept[name] = value;
  }
  return kept;
}
