/**
 * Rules of HTTP that node does not check: number of header lines, host, framing, target. Depends on
 * node's types.
 */
import type { IncomingMessage } from "node:http";
import type { Http2ServerRequest } from "node:http2";

type Request = IncomingMessage | Http2ServerRequest;

/**
 * The limit of header lines. Node's default keeps as many, but silently drops the rest, which may
 * include the line that a proxy appends.
 */
const headerLinesMax = 1000;

/**
 * A host with an optional port (RFC 3986 sections 3.2.2 and 3.2.3, RFC 6874). An empty host is
 * allowed.
 */
const hostForm =
  /^(?:\[[\da-f:.]+(?:%25[\w.~-]+)?\]|\[v[\da-f]+\.[\w.~!$&'()*+,;=:-]+\]|(?:[\w.~!$&'()*+,;=-]|%[\da-f]{2})*)(?::\d*)?$/i;

/** A target in absolute form (RFC 9112 section 3.2.2): its host and the rest. */
const absoluteForm = /^https?:\/\/([^/?#]+)(.*)$/i;

/** The status to refuse the request with; undefined if it is sound. */
export function refusalOf(req: Request): 400 | 431 | 501 | undefined {
  const { rawHeaders, headers, httpVersion } = req;
  if (rawHeaders.length > 2 * headerLinesMax) return 431;
  if (!hasOneHost(req)) return 400;
  const encoding = headers["transfer-encoding"];
  if (encoding !== undefined) {
    // RFC 9112 section 6.1: HTTP/1.0 has no transfer coding, so a hop before may have framed the
    // body otherwise.
    if (httpVersion === "1.0") return 400;
    if (encoding.toLowerCase() !== "chunked") return 501;
  }
  return pathOf(req.url) === undefined ? 400 : undefined;
}

/** The origin form of a target, which may be in absolute form; undefined for other forms. */
export function pathOf(target = ""): string | undefined {
  if (target.startsWith("/") || target === "*") return target;
  const [, host, rest = ""] = absoluteForm.exec(target) ?? [];
  if (host === undefined || !hostForm.test(host)) return undefined;
  return rest.startsWith("/") ? rest : `/${rest}`;
}

/**
 * RFC 9112 section 3.2; for HTTP/2 RFC 9113 section 8.3.1, where nghttp2 refuses a repeated host.
 */
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
