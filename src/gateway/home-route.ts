/**
 * `/`: opened by newcomers, probed by load balancers. Depends on the server's types and its
 * neighbour.
 */
import type { Answer } from "../server/exchange.js";
import type { Route } from "../server/route.js";
import { json, reasonPhrases } from "./answers.js";

const methods = ["GET", "HEAD", "OPTIONS"];

/**
 * @param documents the paths of the published documents
 * @param apiPage shown instead of the text
 */
export function createHomeRoute(documents: readonly string[], apiPage?: Route): Route {
  const body = [
    "This is Latchkey, an authentication service.",
    "",
    "It issues tokens at POST /api/auth/token, POST /api/v1/authentication/login and auth.v1.AuthService",
    "(Connect, gRPC, gRPC-Web), and publishes:",
    ...documents.map((path) => `  ${path}`),
    "",
  ].join("\n");
  const page: Answer = {
    status: 200,
    headers: { "content-type": "text/plain;charset=UTF-8", "cache-control": "no-store" },
    body,
  };
  const refusal = (status: number) => json(status, { error: reasonPhrases[status] });
  return {
    path: "/",
    methods,
    handle(request) {
      const { method, headers } = request;
      if (method === "OPTIONS") return { status: 200, headers: { allow: methods.join(", ") } };
      if (wantsJson(headers.accept)) return refusal(404);
      return apiPage?.handle(request) ?? page;
    },
    fail: () => refusal(500),
    refuse: refusal,
  };
}

/** A client that accepts JSON but no text looks for an API. */
const wantsJson = (accept = "*/*") => /json/i.test(accept) && !/text\/|\*\/\*/i.test(accept);
