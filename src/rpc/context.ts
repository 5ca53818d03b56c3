/** What an rpc's implementation gets to know of the HTTP request. Depends on Connect. */
import { createContextKey, type ContextValues } from "@connectrpc/connect";
import type { Exchange } from "../server/exchange.js";

export const exchangeKey = createContextKey<Exchange | undefined>(undefined);

/** The exchange that the rpc came by. */
export function exchangeOf(values: ContextValues): Exchange {
  const exchange = values.get(exchangeKey);
  if (exchange === undefined) throw new Error("an rpc outside of an exchange");
  return exchange;
}
