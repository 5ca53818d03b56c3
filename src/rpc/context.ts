/** What an rpc's implementation gets to know of the HTTP request. Depends on Connect. */
import { createContextKey, type ContextValues, type HandlerContext } from "@connectrpc/connect";
import type { Caller } from "../server/caller.js";
import type { Exchange } from "../server/exchange.js";

export const exchangeKey = createContextKey<Exchange | undefined>(undefined);

/** The exchange that the rpc came by. */
export function exchangeOf(values: ContextValues): Exchange {
  const exchange = values.get(exchangeKey);
  if (exchange === undefined) throw new Error("an rpc outside of an exchange");
  return exchange;
}

/** The signal is Connect's: it also aborts when the caller's deadline passes. */
export function callerOf(context: HandlerContext): Caller {
  const exchange = exchangeOf(context.values);
  return {
    clientAddress: exchange.clientAddress,
    requestId: exchange.requestId,
    get traceIds() {
      return exchange.traceIds;
    },
    get signal() {
      return context.signal;
    },
  };
}
