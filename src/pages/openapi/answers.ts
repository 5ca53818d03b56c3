/**
 * All answers of the REST paths and rpcs, by operation. They are produced by the routes and the error table
 * themselves, so they cannot differ from them. Depends on auth, gateway, server and rpc.
 */
import { AuthError, type ArgumentFault, type AuthErrorCode } from "../../auth/errors.js";
import { requestBytesMax } from "../../auth/limits.js";
import type { AuthService } from "../../auth/service.js";
import { createLoginRoute } from "../../gateway/login-route.js";
import { createTokenRoute } from "../../gateway/token-route.js";
import { connectAnswers } from "../../rpc/handler.js";
import { acceptedEncodings } from "../../server/compressed-body.js";
import { defaultLimits } from "../../server/connections.js";
import type { Answer } from "../../server/exchange.js";
import type { HttpRefusal, Route, RouteRequest } from "../../server/route.js";

/** One answer of an operation, and the condition for it. */
export interface Case {
  readonly name: string;
  readonly when: string;
  readonly answer: Answer;
}

export interface AnswerPolicy {
  readonly tokenTtlSeconds: number;
  readonly timeZone: string;
}

/** The condition for each error code of the domain. */
const codeMeanings: Readonly<Record<AuthErrorCode, string>> = {
  invalid_argument: "the request is not understood",
  invalid_credentials: "wrong password, or an unknown or disabled user",
  token_invalid: "the token is forged, foreign or revoked, or its user is disabled or gone",
  token_expired: "the token has expired, or its session is too old to be renewed",
  rate_limited: "too many failed attempts; `Retry-After` says when to try again",
  overloaded: "too many password checks are waiting; `Retry-After` says when to try again",
  store_unavailable: "the user store does not answer, which says nothing about the credentials",
  internal: "a fault of the server; quote `X-Request-Id`",
};

const faultMeanings: Readonly<Record<ArgumentFault, string>> = {
  unparsable: "the body cannot be parsed",
  missing: "`username` or `password` is missing, empty or not a string",
  too_long: "`username` or `password` is too long",
};

const { headerBytesMax, requestTimeoutMs } = defaultLimits;
/** The others are answers to what is no HTTP. */
type Documented = Exclude<HttpRefusal, 400 | 417 | 501>;
const refusalMeanings: Readonly<Record<Documented, string>> = {
  405: "another method than POST",
  408: `the request took more than ${requestTimeoutMs / 1000} seconds to come`,
  413: `the body has more than ${requestBytesMax} bytes`,
  415: "the body has a `Content-Encoding` other than gzip or deflate",
  429: "the client has cancelled too many requests",
  431: `the headers have more than ${headerBytesMax} bytes`,
};

const temporary = ["rate_limited", "overloaded", "store_unavailable", "internal"] as const;
const issueCodes = ["invalid_credentials", "token_invalid", "token_expired", ...temporary] as const;
const loginCodes = ["invalid_credentials", ...temporary] as const;
const loginFaults = ["missing", "unparsable", "too_long"] as const;

const errorOf = (code: AuthErrorCode, fault?: ArgumentFault) => {
  const isTemporary = /rate_limited|overloaded|store_unavailable/.test(code);
  return new AuthError(code, code, {
    ...(fault && { fault }),
    ...(isTemporary && { retryAfterSeconds: code === "rate_limited" ? 60 : 1 }),
  });
};

type Failure = Omit<Case, "answer"> & { readonly error: AuthError };
const failures = (codes: readonly AuthErrorCode[], faults: readonly ArgumentFault[]): Failure[] => [
  ...faults.map((fault) => ({
    name: fault,
    when: faultMeanings[fault],
    error: errorOf("invalid_argument", fault),
  })),
  ...codes.map((code) => ({ name: code, when: codeMeanings[code], error: errorOf(code) })),
];

const refusals = <T extends Documented>(
  statuses: readonly T[],
  answerOf: (status: T) => Answer,
): Case[] =>
  statuses.map((status) => ({
    name: `refused_${status}`,
    when: refusalMeanings[status],
    answer: answerOf(status),
  }));

function refuse(route: Route, status: Documented): Answer {
  const { headers, ...answer } = route.refuse(status);
  const more = {
    ...(status === 405 && { allow: route.methods.join(", ") }),
    ...(status === 415 && { "accept-encoding": acceptedEncodings }),
  };
  return { ...answer, headers: { ...headers, ...more } };
}

/** The time of the examples. */
const exampleSeconds = Date.UTC(2026, 0, 15, 9, 30) / 1000;
const exampleClock = { now: () => exampleSeconds * 1000 };
const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A token like those that are issued, with a made-up signature. */
export function exampleToken(issuer: string, { tokenTtlSeconds }: AnswerPolicy) {
  const header = { typ: "JWT", alg: "RS256", kid: "2sVvBzDFhmvYtbGVCTjx2Q0Yz3Sx7lVCBRfMUlZwuZc" };
  const expiresAtSeconds = exampleSeconds + tokenTtlSeconds;
  const claims = {
    ...{ sub: "1", iss: issuer, exp: expiresAtSeconds, iat: exampleSeconds },
    ...{ jti: "7b1e4f6e-5f0c-4c9e-9a53-0d4c0b8e1f2a", auth_time: exampleSeconds },
  };
  return { accessToken: `${part(header)}.${part(claims)}.c2lnbmF0dXJl`, expiresAtSeconds };
}

export interface OperationAnswers {
  readonly token: readonly Case[];
  readonly login: readonly Case[];
  readonly rpcLogin: readonly Case[];
  readonly rpcIssueToken: readonly Case[];
  readonly healthCheck: readonly Case[];
}

export async function answersOf(issuer: string, policy: AnswerPolicy): Promise<OperationAnswers> {
  const issued = exampleToken(issuer, policy);
  const service: AuthService = {
    login: () => Promise.resolve(issued),
    issueToken: () => Promise.resolve(issued),
  };
  const tokenRoute = createTokenRoute(service, exampleClock);
  const loginRoute = createLoginRoute(service, policy.tokenTtlSeconds, policy.timeZone);
  const request: RouteRequest = {
    method: "POST",
    headers: {},
    body: Buffer.from('{"username":"TestUser","password":"password"}'),
    caller: {
      ...{ requestId: "", clientAddress: "", traceIds: undefined },
      signal: new AbortController().signal,
    },
  };

  async function ofRoute(
    route: Route,
    failed: readonly Failure[],
    refused: readonly Documented[],
    when: string,
  ): Promise<Case[]> {
    return [
      { name: "accepted", when, answer: await route.handle(request) },
      ...failed.map(({ error, ...rest }) => ({ ...rest, answer: route.fail(error) })),
      ...refusals(refused, (status) => refuse(route, status)),
    ];
  }

  const message = JSON.stringify({
    accessToken: issued.accessToken,
    expireTime: new Date(issued.expiresAtSeconds * 1000).toISOString().replace(".000Z", "Z"),
  });
  function ofRpc(
    accepted: readonly Case[],
    failed: readonly Failure[],
    refused: readonly (408 | 431)[],
  ): Case[] {
    return [
      ...accepted,
      ...failed.map(({ error, ...rest }) => ({ ...rest, answer: connectAnswers.toError(error) })),
      { name: "too_large", when: refusalMeanings[413], answer: connectAnswers.toLargeMessage() },
      ...refusals(refused, (status) => connectAnswers.toRefusal(status)),
      ...connectRefusals,
    ];
  }

  const accepted = [
    {
      name: "accepted",
      when: "the credentials are accepted",
      answer: { status: 200, body: message },
    },
  ];
  const unparsable = failures([], ["unparsable"]);
  const issueFailures = failures(issueCodes, []);
  return {
    token: await ofRoute(
      tokenRoute,
      issueFailures,
      [405, 408, 413, 431],
      "the Basic pair or the Bearer token is accepted",
    ),
    login: await ofRoute(
      loginRoute,
      failures(loginCodes, loginFaults),
      [405, 408, 413, 415, 431],
      "the pair is accepted",
    ),
    rpcLogin: ofRpc(accepted, failures(loginCodes, loginFaults), [408, 431]),
    // Without 431: headers that are too large mean a credential that is too long, which gets 401.
    rpcIssueToken: ofRpc(accepted, [...unparsable, ...issueFailures], [408]),
    healthCheck: ofRpc(healthCases, unparsable, [408, 431]),
  };
}

const healthCase = (status: number, body: object, when: string): Case => ({
  ...{ name: when.replaceAll(" ", "_"), when },
  answer: { status, body: JSON.stringify(body) },
});
const healthCases = [
  healthCase(200, { status: "SERVING" }, "it serves"),
  healthCase(200, { status: "NOT_SERVING" }, "it does not serve now"),
  healthCase(404, { code: "not_found", message: "unknown service" }, "there is no such service"),
];

/** Refusals by the Connect protocol itself, without a body. */
const connectRefusals: readonly Case[] = [
  {
    name: "method",
    when: "another method than POST",
    answer: { status: 405, headers: { allow: "POST" } },
  },
  {
    name: "content_type",
    when: "a content type other than `application/json`",
    answer: { status: 415 },
  },
];
