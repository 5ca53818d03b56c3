/**
 * What HTTP demands of a request and node lets pass: its header lines, its host, its framing, its target.
 * Depends on node's types.
 */
import type { IncomingMessage } from "node:http";
import type { Http2ServerRequest } from "node:http2";

type Request = IncomingMessage | Http2ServerRequest;

/**
 * Most header lines of a request. Node keeps as many by default and drops the rest in silence, the line that a
 * proxy appends among them.
 */
const headerLinesMax = 1000;

/** A host with perhaps a port (RFC 3986 sections 3.2.2 and 3.2.3, RFC 6874); the empty one is allowed. */
const hostForm =
  /^(?:\[[\da-f:.]+(?:%25[\w.~-]+)?\]|\[v[\da-f]+\.[\w.~!$&'()*+,;=:-]+\]|(?:[\w.~!$&'()*+,;=-]|%[\da-f]{2})*)(?::\d*)?$/i;

/** A target in absolute form (RFC 9112 section 3.2.2): its host, and the rest. */
const absoluteForm = /^https?:\/\/([^/?#]+)(.*)$/i;

/** The status that a request is refused with, undefined where nothing is wrong. */
export function refusalOf(req: Request): 400 | 431 | 501 | undefined {
  const { rawHeaders, headers, httpVersion } = req;
  if (rawHeaders.length > 2 * headerLinesMax) return 431;
  if (!hasOneHost(req)) return 400;
  const encoding = headers["transfer-encoding"];
  if (encoding !== undefined) {
    // RFC 9112 section 6.1: 1.0 has none, so whoever passed it on may have framed it otherwise.
    if (httpVersion === "1.0") return 400;
    if (encoding.toLowerCase() !== "chunked") return 501;
  }
  return pathOf(req.url) === undefined ? 400 : undefined;
}

/**
 * The origin form of a request's target, which may be in absolute form; undefined where it is neither.
 */
export function pathOf(target = ""): string | undefined {
  if (target.startsWith("/") || target === "*") return target;
  const [, host, rest = ""] = absoluteForm.exec(target) ?? [];
  if (host === undefined || !hostForm.test(host)) return undefined;
  return rest.startsWith("/") ? rest : `/${rest}`;
}

/** RFC 9112 section 3.2; of HTTP/2 RFC 9113 section 8.3.1, where nghttp2 refuses a repeated one. */
function hasOneHost(req: Request): boolean {
  const { rawHeaders, headers, httpVersion } = req;
  if ("stream" in req) {
    const authority = headers[":authority"] as string | undefined;
    const hosts = [authority, headers.host].filter((one) => one !== undefined);
    return hosts.every((one) => hostForm.test(one) && sameText(one, hosts[0]));
  }
  let count = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i];
    if (name?.length === 4 && name.toLowerCase() === "host") count++;
  }
  if (count === 0) return httpVersion !== "1.1";
  return count === 1 && hostForm.test(headers.host ?? "");
}

const sameText = (a: string, b = "") => a.toLowerCase() === b.toLowerCase();
