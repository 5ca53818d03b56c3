/** What an rpc's implementation gets to know of the HTTP request. Depends on Connect. */
import { createContextKey, type HandlerContext } from "@connectrpc/connect";
import type { Caller } from "../server/caller.js";
import type { Exchange } from "../server/exchange.js";

export const exchangeKey = createContextKey<Exchange | undefined>(undefined);

/** The signal is Connect's: it also aborts when the caller's deadline passes. */
export function callerOf(context: HandlerContext): Caller {
  const exchange = context.values.get(exchangeKey);
  if (exchange === undefined) throw new Error("an rpc outside of an exchange");
  const { clientAddress, requestId } = exchange;
  return {
    clientAddress,
    requestId,
    get signal() {
      return context.signal;
    },
  };
}
