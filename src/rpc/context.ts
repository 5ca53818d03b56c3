/** What an rpc's implementation gets to know of the HTTP request. Depends on Connect. */
import type { IncomingHttpHeaders } from "node:http";
import { createContextKey, type ContextValues } from "@connectrpc/connect";
import type { Exchange } from "../server/exchange.js";

export const exchangeKey = createContextKey<Exchange | undefined>(undefined);

/** The exchange that the rpc came by. */
export function exchangeOf(values: ContextValues): Exchange {
  const exchange = values.get(exchangeKey);
  if (exchange === undefined) throw new Error("an rpc outside of an exchange");
  return exchange;
}

/** The URL of a request. Its host is never the caller's: that may be anything, or missing. */
export const urlOf = ({ req }: Exchange) => `http://localhost${req.url ?? ""}`;

/** Request headers as Connect wants them, without HTTP/2's pseudo-headers. */
export function webHeadersOf(nodeHeaders: IncomingHttpHeaders): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(nodeHeaders)) {
    if (name.startsWith(":") || value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) headers.append(name, one);
  }
  return headers;
}
