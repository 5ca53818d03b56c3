/** Helpers of the routes: JSON bodies, and the REST side of the error table. */
import { errorAnswers, type AuthError } from "../auth/errors.js";
import type { Answer } from "../server/exchange.js";

/** The reason phrases of RFC 9110 section 15. Node still says `Payload Too Large`. */
export const reasonPhrases: Readonly<Record<number, string>> = {
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  417: "Expectation Failed",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  503: "Service Unavailable",
};

/** @param body JSON text, or an object to serialise */
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

/** The status of an error on a path, and the seconds for `Retry-After`. */
export function statusOf(error: AuthError, path: "token" | "login") {
  const seconds = error.retryAfterSeconds;
  return {
    status: errorAnswers[error.code][path],
    headers: seconds === undefined ? {} : { "retry-after": String(seconds) },
  };
}
