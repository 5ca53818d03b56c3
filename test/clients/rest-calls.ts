/** What HTTP clients of other languages call, and the status that each of them must get. */
import { gzipSync } from "node:zlib";
import { expect } from "@jest/globals";
import { basic } from "../support/http.js";

const tokenPath = "/api/auth/token";
const loginPath = "/api/v1/authentication/login";
const json = { "content-type": "application/json" };
const authorized = (authorization: string) => ({ authorization });

interface RestCall {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

const login = (body: string | Uint8Array, headers = {}): RestCall => ({
  method: "POST",
  path: loginPath,
  headers: { ...json, ...headers },
  body,
});
const token = (headers = {}, method = "POST"): RestCall => ({ method, path: tokenPath, headers });
const right = '{"username":"TestUser","password":"password"}';
const latin1 = `Basic ${Buffer.from("TestUsér:password", "latin1").toString("base64")}`;

const table: readonly (readonly [string, RestCall, number])[] = [
  ["a login", login(right), 200],
  ["a login in upper case", login('{"USERNAME":"TestUser","PASSWORD":"password"}'), 200],
  ["a compressed login", login(gzipSync(right), { "content-encoding": "gzip" }), 200],
  ["a wrong password", login('{"username":"TestUser","password":"no"}'), 401],
  ["a login without a body", login(""), 400],
  ["a login that is too large", login(`{"a":"${"a".repeat(70_000)}"}`), 413],
  ["a login in an unknown encoding", login("{}", { "content-encoding": "br" }), 415],
  ["a token by Basic", token(authorized(basic("TestUser", "password"))), 200],
  ["a token without credentials", token(), 403],
  ["a token by Latin-1", token(authorized(latin1)), 403],
  ["an over-long token", token(authorized(`Bearer ${"a".repeat(9000)}`)), 403],
  ["headers that are too large", token(authorized(`Bearer ${"a".repeat(20_000)}`)), 431],
  ["a wrong method", token({}, "PUT"), 405],
  ["the key set", { method: "GET", path: "/.well-known/jwks.json" }, 200],
  ["the root", { method: "GET", path: "/" }, 200],
];

export const restCalls = table.map(([, call]) => call);

/** @param exceptions the statuses of rows that a client or a proxy changes */
export function expectStatuses(
  statuses: readonly number[],
  exceptions: Readonly<Record<string, number>> = {},
): void {
  const named = (values: readonly number[]) => table.map(([row], i) => `${row}: ${values[i]}`);
  const expected = table.map(([row, , status]) => exceptions[row] ?? status);
  expect(named(statuses)).toEqual(named(expected));
}
