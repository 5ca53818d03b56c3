/** What the routes have in common: JSON bodies, and the error table's REST side. */
import { errorAnswers, type AuthError } from "../auth/errors.js";
import type { Answer } from "../server/exchange.js";

/** Reason phrases as RFC 9110 section 15 has them; node's own say `Payload Too Large`. */
export const reasonPhrases: Readonly<Record<number, string>> = {
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

/** @param body JSON, or what is to be written as such. */
export function json(status: number, body: object | string, headers?: Answer["headers"]): Answer {
  return {
    status,
    headers: {
      "content-type": "application/json;charset=UTF-8",
      "cache-control": "no-store",
      ...headers,
    },
    body: typeof body === "string" ? body : JSON.stringify(body),
  };
}

/** The status that the error table gives an error on a path, and when to come back. */
export function statusOf(error: AuthError, path: "token" | "login") {
  const seconds = error.retryAfterSeconds;
  return {
    status: errorAnswers[error.code][path],
    headers: seconds === undefined ? {} : { "retry-after": String(seconds) },
  };
}
