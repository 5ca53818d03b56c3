/**
 * HTTP clients of other languages through one table. They come from Debian: `apt-get update && apt-get install
 * --no-install-recommends curl perl ruby php-cli`.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { basic } from "../support/http.js";
import { startService, type RunningService } from "../support/service.js";
import { describeWith } from "../support/toolchain.js";
import { programs } from "./programs.js";

const tokenPath = "/api/auth/token";
const loginPath = "/api/v1/authentication/login";
const json = { "content-type": "application/json" };
const authorized = (authorization: string) => ({ authorization });

interface Call {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

const login = (body: string | Uint8Array, headers = {}): Call => ({
  method: "POST",
  path: loginPath,
  headers: { ...json, ...headers },
  body,
});
const token = (headers = {}, method = "POST"): Call => ({ method, path: tokenPath, headers });
const right = '{"username":"TestUser","password":"password"}';
const latin1 = `Basic ${Buffer.from("TestUsér:password", "latin1").toString("base64")}`;

const table: readonly (readonly [string, Call, number])[] = [
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

let service: RunningService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.close());

for (const [name, { command, args, probe }] of Object.entries(programs)) {
  await describeWith({ [command]: probe }, name, () => {
    test("is answered as the table says", async () => {
      const calls = table.map(([, { method, path, headers = {}, body = "" }]) => ({
        method,
        url: service.url + path,
        headers,
        body: Buffer.from(body).toString("base64"),
      }));
      const child = spawn(command, args);
      let [output, errors] = ["", ""];
      child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
      child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
      child.stdin.end(JSON.stringify(calls));
      await once(child, "close");
      expect({ errors: output === "" ? errors : "" }).toEqual({ errors: "" });
      expectStatuses(JSON.parse(output) as number[]);
    });
  });
}

for (const version of ["--http1.0", "--http1.1", "--http2-prior-knowledge"]) {
  await describeWith({ curl: ["--version"] }, `curl ${version}`, () => {
    test("is answered as the table says", async () => {
      const statuses: number[] = [];
      for (const [, { method, path, headers = {}, body = "" }] of table) {
        const fields = Object.entries(headers).flatMap(([field, value]) => [
          "-H",
          `${field}: ${value}`,
        ]);
        const head = [
          "-sS",
          version,
          "-o",
          "/dev/null",
          "-w",
          "%{http_code}",
          "-X",
          method,
          ...fields,
        ];
        const command = ["-c", `base64 -d | curl "$@"`, "sh", ...head];
        if (method !== "GET") command.push("--data-binary", "@-");
        statuses.push(Number(await pipe("sh", [...command, service.url + path], body)));
      }
      expectStatuses(statuses);
    });
  });
}

async function pipe(command: string, args: readonly string[], body: string | Uint8Array) {
  const child = spawn(command, args);
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stdin.end(Buffer.from(body).toString("base64"));
  await once(child, "close");
  return output;
}

function expectStatuses(statuses: readonly number[]): void {
  const named = (values: readonly number[]) => table.map(([row], i) => `${row}: ${values[i]}`);
  expect(named(statuses)).toEqual(named(table.map(([, , status]) => status)));
}
