/** `POST /api/auth/token`: IssueToken by the contract of the first old server. */
import type { AuthService } from "../auth/service.js";
import { toAttempt } from "../server/caller.js";
import type { Answer } from "../server/exchange.js";
import type { Route } from "../server/route.js";
import { json, reasonPhrases, statusOf } from "./answers.js";

const path = "/api/auth/token";

export function createTokenRoute(service: AuthService, clock: { now(): number }): Route {
  /** Spring Boot's error page: the time in UTC with milliseconds and a numeric offset. */
  function errorPage(status: number, headers?: Answer["headers"]): Answer {
    const timestamp = new Date(clock.now()).toISOString().replace("Z", "+00:00");
    return json(status, { timestamp, status, error: reasonPhrases[status], path }, headers);
  }

  return {
    path,
    methods: ["POST"],
    async handle({ headers, caller }) {
      const attempt = toAttempt("rest_token", caller);
      const { accessToken } = await service.issueToken(headers.authorization, attempt);
      // Concatenated: a token needs no escaping, and JSON.stringify takes 2 us to find that out.
      return json(200, `{"isSuccess":true,"token":"${accessToken}"}`);
    },
    fail(error) {
      const { status, headers } = statusOf(error, "token");
      if (status === 403) return { status, headers: { "cache-control": "no-store" } };
      return errorPage(status, headers);
    },
    refuse: (status) => errorPage(status),
  };
}
