/** `POST /api/v1/authentication/login`: Login by the contract of the second old server. */
import type { ArgumentFault } from "../auth/errors.js";
import { AuthError } from "../auth/errors.js";
import { parseJsonIgnoringCase } from "../auth/json.js";
import { requestBytesMax } from "../auth/limits.js";
import type { AuthService } from "../auth/service.js";
import { toAttempt } from "../server/caller.js";
import { decompress } from "../server/compressed-body.js";
import type { Answer } from "../server/exchange.js";
import type { Route } from "../server/route.js";
import { json, reasonPhrases, statusOf } from "./answers.js";

const argumentFaults = {
  unparsable: "Missing parameter",
  missing: "Missing parameter",
  too_long: "Invalid parameter",
} as const satisfies Record<ArgumentFault, string>;

/** @param timeZone IANA name of the time zone of `token_exp` */
export function createLoginRoute(
  service: AuthService,
  tokenTtlSeconds: number,
  timeZone: string,
): Route {
  const minutes = Math.floor(tokenTtlSeconds / 60);
  const message = `Bearer token created and it expires in ${minutes} minutes`;
  const formatExpiry = createExpiryFormat(timeZone);

  return {
    path: "/api/v1/authentication/login",
    methods: ["POST"],
    async handle({ headers, body, caller }) {
      const plain = await decompress(headers["content-encoding"], body, requestBytesMax);
      const members = parseMembers(plain);
      const { accessToken, expiresAtSeconds } = await service.login(
        members.get("username"),
        members.get("password"),
        toAttempt("rest_login", caller),
      );
      return json(200, {
        message,
        data: accessToken,
        error: false,
        token_exp: formatExpiry(expiresAtSeconds),
      });
    },
    fail(error) {
      const { status, headers } = statusOf(error, "login");
      if (status === 401) return envelope(status, "Invalid Authorization");
      if (status === 400) return envelope(status, argumentFaults[error.fault ?? "unparsable"]);
      return envelope(status, reasonPhrases[status], headers);
    },
    refuse: (status) => envelope(status, reasonPhrases[status]),
  };
}

function envelope(status: number, text: string | undefined, headers?: Answer["headers"]): Answer {
  const pagination = { totalPages: 1, maxRows: 0, offset: 0, page: 1, totalRecords: 0 };
  return json(status, { data: "", error: true, pagination, messages: [text] }, headers);
}

/** Ignores letter case, as the old server's CFML did: CFML clients send `USERNAME`. */
function parseMembers(body: Uint8Array): ReadonlyMap<string, unknown> {
  try {
    return parseJsonIgnoringCase(body);
  } catch (cause) {
    throw new AuthError("invalid_argument", "body is not JSON", { fault: "unparsable", cause });
  }
}

/** ColdFusion's JSON date, `MMMM, dd yyyy HH:mm:ss`. */
function createExpiryFormat(timeZone: string): (seconds: number) => string {
  // Created at the first login: it takes 6 ms.
  let format: Intl.DateTimeFormat | undefined;
  return (seconds) => {
    format ??= new Intl.DateTimeFormat("en-US", {
      timeZone,
      calendar: "gregory",
      numberingSystem: "latn",
      hourCycle: "h23",
      year: "numeric",
      month: "long",
      day: "2-digit",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
    });
    const part = Object.fromEntries(
      format.formatToParts(seconds * 1000).map(({ type, value }) => [type, value]),
    );
    return `${part["month"]}, ${part["day"]} ${part["year"]} ${part["hour"]}:${part["minute"]}:${part["second"]}`;
  };
}
