/**
 * The contract of the two REST paths as data: requests, each with the answer that it must get. Depends on
 * node:crypto, the domain's limits and the aspects of an answer.
 */
import { createHash } from "node:crypto";
import {
  passwordBytesMax,
  requestBytesMax,
  tokenBytesMax,
  usernameCodePointsMax,
} from "../../auth/limits.js";
import type { Aspects } from "../../contract/aspects.js";

/** One request and its expected answer. */
export interface ContractRow {
  readonly name: string;
  readonly path: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly expected: Aspects;
}

/** A user who may log in. */
export interface Credentials {
  readonly username: string;
  readonly password: string;
}

export const tokenPath = "/api/auth/token";
const loginPath = "/api/v1/authentication/login";
const overlong = (max: number) => "a".repeat(max + 1);

const everyAnswer = { "cache-control": "no-store", "x-request-id": "present" } as const;
const json = { ...everyAnswer, "content-type": "application/json;charset=UTF-8" } as const;

const tokenRefused: Aspects = { ...everyAnswer, status: "403", "content-length": "0", body: "" };
const tokenFault = (status: number, error: string): Aspects => ({
  ...json,
  status: String(status),
  body: `{"timestamp":"<timestamp>","status":${status},"error":"${error}","path":"${tokenPath}"}`,
});
const loginFault = (status: number, message: string): Aspects => ({
  ...json,
  status: String(status),
  body: `{"data":"","error":true,"pagination":{"totalPages":1,"maxRows":0,"offset":0,"page":1,"totalRecords":0},"messages":["${message}"]}`,
});
const token = {
  "token header": "typ,alg,kid: JWT RS256",
  "token claims": "sub,iss,exp,iat",
} as const;
const tokenIssued: Aspects = {
  ...json,
  ...token,
  status: "200",
  body: '{"isSuccess":true,"token":"<jwt>"}',
};
const loginAccepted: Aspects = {
  ...json,
  ...token,
  status: "200",
  "minutes of the message": "those of the token",
  token_exp: "the token's exp in some time zone",
  body: '{"message":"Bearer token created and it expires in <n> minutes","data":"<jwt>","error":false,"token_exp":"<token_exp>"}',
};

const basic = (text: string) => `Basic ${Buffer.from(text).toString("base64")}`;
/** A name that no user has. It is the same at every run, so that the throttle keeps only one counter for it. */
const nobody = `nobody-${createHash("sha256").update("latchkey contract").digest("hex").slice(0, 12)}`;

function tokenRow(
  name: string,
  authorization: string | undefined,
  more: Partial<ContractRow> = {},
) {
  const headers = authorization === undefined ? {} : { authorization };
  return { name: `token: ${name}`, path: tokenPath, headers, expected: tokenRefused, ...more };
}

function loginRow(name: string, body: unknown, expected: Aspects): ContractRow {
  return {
    name: `login: ${name}`,
    path: loginPath,
    headers: { "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
    expected,
  };
}

const otherMethods = ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"];

/** The rows that need no user. Each makes the server compute one hash at most. */
export const rows: readonly ContractRow[] = [
  tokenRow("no authorization", undefined),
  tokenRow("an unknown scheme", "Digest abc"),
  tokenRow("a value that is not base64", "Basic !"),
  tokenRow("a pair without a colon", basic("TestUser")),
  tokenRow("no password", basic("TestUser:")),
  tokenRow("an unknown user", basic(`${nobody}:password`)),
  tokenRow("a username over 256 characters", basic(`${overlong(usernameCodePointsMax)}:password`)),
  tokenRow("a password over 1024 bytes", basic(`${nobody}:${overlong(passwordBytesMax)}`)),
  tokenRow("a token that is none", "Bearer a.b.c"),
  tokenRow("a token over 8 KiB", `Bearer ${overlong(tokenBytesMax)}`),
  tokenRow("a token without a signature", `Bearer ${unsignedToken()}`),
  tokenRow("a body, which is ignored", undefined, { body: '{"username":"TestUser"}' }),
  tokenRow("a body over 64 KiB", undefined, {
    body: overlong(requestBytesMax),
    expected: tokenFault(413, "Content Too Large"),
  }),
  ...otherMethods.map((method) =>
    tokenRow(method, undefined, {
      method,
      expected: { ...tokenFault(405, "Method Not Allowed"), allow: "POST" },
    }),
  ),
  ...[
    ["nothing", ""],
    ["what is not JSON", "username=a&password=b"],
    ["a list", "[]"],
    ["a string", '"TestUser"'],
    ["null", "null"],
    ["no username", { password: "password" }],
    ["no password", { username: nobody }],
    ["an empty username", { username: "", password: "password" }],
    ["an empty password", { username: nobody, password: "" }],
    ["a password that is a number", { username: nobody, password: 1 }],
    ["a username that is null", { username: null, password: "password" }],
    [
      "an empty password and a long username",
      { username: overlong(usernameCodePointsMax), password: "" },
    ],
  ].map(([name, body]) => loginRow(name as string, body, loginFault(400, "Missing parameter"))),
  loginRow(
    "a username over 256 characters",
    { username: overlong(usernameCodePointsMax), password: "password" },
    loginFault(400, "Invalid parameter"),
  ),
  loginRow(
    "a password over 1024 bytes",
    { username: nobody, password: "é".repeat(passwordBytesMax / 2 + 1) },
    loginFault(400, "Invalid parameter"),
  ),
  loginRow(
    "an unknown user",
    { username: nobody, password: "password" },
    loginFault(401, "Invalid Authorization"),
  ),
  loginRow(
    "a body over 64 KiB",
    { username: nobody, password: "password", extra: overlong(requestBytesMax) },
    loginFault(413, "Content Too Large"),
  ),
  ...otherMethods.map((method) => ({
    ...loginRow(method, "", { ...loginFault(405, "Method Not Allowed"), allow: "POST" }),
    method,
    ...(method === "GET" && { body: undefined }),
  })),
].map(withoutUndefined);

/** The rows that need a user. Wrong passwords come first, so that a right one resets the throttle at the end. */
export function rowsOf({ username, password }: Credentials): readonly ContractRow[] {
  const right = { username, password };
  const wrong = `${password}!`;
  return [
    tokenRow("a wrong password", basic(`${username}:${wrong}`)),
    loginRow(
      "a wrong password",
      { username, password: wrong },
      loginFault(401, "Invalid Authorization"),
    ),
    tokenRow("a password with a NUL", basic(`${username}:${password}\0`)),
    tokenRow("Basic", basic(`${username}:${password}`), { expected: tokenIssued }),
    tokenRow("basic in lower case", basic(`${username}:${password}`).replace("B", "b"), {
      expected: tokenIssued,
    }),
    loginRow("the right pair", right, loginAccepted),
    {
      ...loginRow("another content type and more members", { extra: [1], ...right }, loginAccepted),
      headers: { "content-type": "text/plain" },
    },
  ];
}

/** The rows that need a token issued by the server under test. */
export function rowsOfToken(jwt: string): readonly ContractRow[] {
  return [
    tokenRow("Bearer", `Bearer ${jwt}`, { expected: tokenIssued }),
    tokenRow("a token whose signature is another's", `Bearer ${otherSignature(jwt)}`),
  ];
}

function withoutUndefined(
  row: ContractRow | (Omit<ContractRow, "body"> & { body?: string | undefined }),
) {
  const { body, ...rest } = row;
  return body === undefined ? rest : { ...rest, body };
}

function unsignedToken(): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ typ: "JWT", alg: "none" })}.${part({ sub: "1", iss: "NomicGameManager.Api", exp: 4_102_444_800, iat: 0 })}.`;
}

function otherSignature(jwt: string): string {
  const [header = "", claims = "", signature = ""] = jwt.split(".");
  const bytes = Buffer.from(signature, "base64url");
  const last = bytes.length - 1;
  bytes.writeUInt8((bytes[last] ?? 0) ^ 1, Math.max(last, 0));
  return [header, claims, bytes.toString("base64url")].join(".");
}
