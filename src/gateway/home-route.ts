/** `/`: what load balancers probe and newcomers open. Depends on the server's types and its neighbour. */
import type { Answer } from "../server/exchange.js";
import type { Route } from "../server/route.js";
import { json, reasonPhrases } from "./answers.js";

const methods = ["GET", "HEAD", "OPTIONS"];

/** @param documents paths of what is published. */
export function createHomeRoute(documents: readonly string[]): Route {
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
    handle({ method, headers }) {
      if (method === "OPTIONS") return { status: 200, headers: { allow: methods.join(", ") } };
      return wantsJson(headers.accept) ? refusal(404) : page;
    },
    fail: () => refusal(500),
    refuse: refusal,
  };
}

/** A machine that looks for an API, and would take nothing else. */
const wantsJson = (accept = "*/*") => /json/i.test(accept) && !/text\/|\*\/\*/i.test(accept);
