/** What the implementation of an rpc can read of the HTTP request. Depends on Connect. */
import type { IncomingHttpHeaders } from "node:http";
import { createContextKey, type ContextValues } from "@connectrpc/connect";
import type { Exchange } from "../server/exchange.js";

export const exchangeKey = createContextKey<Exchange | undefined>(undefined);

/** The HTTP exchange of the rpc. */
export function exchangeOf(values: ContextValues): Exchange {
  const exchange = values.get(exchangeKey);
  if (exchange === undefined) throw new Error("an rpc outside of an exchange");
  return exchange;
}

/** The URL of a request, with a fixed host: the caller's may be anything, or missing. */
export const urlOf = ({ req }: Exchange) => `http://localhost${req.url ?? ""}`;

/** The request's headers for Connect, without HTTP/2's pseudo-headers. */
export function webHeadersOf(nodeHeaders: IncomingHttpHeaders): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(nodeHeaders)) {
    if (name.startsWith(":") || value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) headers.append(name, one);
  }
  return headers;
}
