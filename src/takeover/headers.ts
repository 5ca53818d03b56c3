/** The headers that a proxy passes on (RFC 9110 section 7.6.1). Depends on nothing. */

const hopByHop = new Set([
  ...["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"],
  ...["trailer", "proxy-authenticate", "proxy-authorization"],
]);

/** Headers that Latchkey writes anew: it sends the body as a whole, to another host. */
const requestOwn = new Set(["host", "content-length", "expect", "x-forwarded-for"]);

type Values = string | string[] | undefined;

/** The headers of one hop, including those that `Connection` names. */
function namesOfOneHop(connection: Values): ReadonlySet<string> {
  if (connection === undefined || connection === "keep-alive") return hopByHop;
  const names = String(connection).split(",");
  return new Set([...hopByHop, ...names.map((name) => name.trim().toLowerCase())]);
}

/**
 * The headers of a request for the next server, names and values in turn.
 * @param raw names and values in turn
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
    // HTTP/2 has pseudo-headers, which begin with a colon.
    if (dropped.has(lower) || requestOwn.has(lower) || lower.startsWith(":")) continue;
    kept.push(name, value);
  }
  kept.push("x-forwarded-for", forwardedFor + peerAddress);
  return kept;
}

/** The headers of an answer for the client. `content-length` stays for HEAD only; else it follows from the body. */
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
