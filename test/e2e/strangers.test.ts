/**
 * A stranger is told nothing of who exists: for each class of request, on each surface, every kind of user and a
 * name of nobody get the same status, the same bytes, and cost the same hashes and calls of the store.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { User } from "../../src/auth/users.js";
import type { Tracing } from "../../src/observability/tracing.js";
import { basic, createHttpClient, type HttpClient, type Reply } from "../support/http.js";
import { startService, testUser, type RunningService } from "../support/service.js";

const argon2id = testUser.passwordHash ?? "";
const kinds = {
  argon2id: { passwordHash: argon2id },
  bcrypt: { passwordHash: "$2b$04$DR3aoWP.AwUXsNf5c23tceithpasOR0Qjhb0gsfgHTYkVhBKUJlTe" },
  disabled: { passwordHash: argon2id, disabled: true },
  hashless: { passwordHash: undefined },
  unusable: { passwordHash: "$2b$12$" },
  // Has logged in from here.
  trusting: { passwordHash: argon2id },
  nobody: undefined,
} satisfies Record<string, Partial<User> | undefined>;

const users = Object.entries(kinds).flatMap(([username, more], i): User[] =>
  more ? [{ ...testUser, id: { type: "int", value: String(i + 1) }, username, ...more }] : [],
);

const widen = (text: string) =>
  text.replace(/[!-~]/g, (c) => String.fromCodePoint(c.charCodeAt(0) + 0xfee0));

/** Name and password as they are sent. */
const classes: Readonly<Record<string, (name: string) => [string, string]>> = {
  "a wrong password": (name) => [name, "wrong"],
  "a NUL behind a wrong one": (name) => [name, "wrong\0"],
  "a NUL behind the right one": (name) => [name, "password\0"],
  "a NUL alone": (name) => [name, "\0"],
  "another letter case": (name) => [name.toUpperCase(), "password"],
  "another width": (name) => [widen(name), "password"],
  "a trailing space": (name) => [`${name} `, "password"],
  "a NUL in the name": (name) => [`${name}\0`, "password"],
  "1,024 bytes": (name) => [name, "x".repeat(1024)],
  "2,000 bytes": (name) => [name, "x".repeat(2000)],
  "no bytes": (name) => [name, ""],
};

const json = { "content-type": "application/json" };
const surfaces: Readonly<
  Record<string, (client: HttpClient, username: string, password: string) => Promise<Reply>>
> = {
  "REST token": (client, username, password) =>
    client.call("/api/auth/token", { headers: { authorization: basic(username, password) } }),
  "REST login": (client, username, password) =>
    client.call("/api/v1/authentication/login", {
      headers: json,
      body: JSON.stringify({ username, password }),
    }),
  "rpc Login": (client, username, password) =>
    client.call("/auth.v1.AuthService/Login", {
      headers: json,
      body: JSON.stringify({ username, password }),
    }),
  "rpc IssueToken": (client, username, password) =>
    client.call("/auth.v1.AuthService/IssueToken", {
      headers: { ...json, authorization: basic(username, password) },
      body: "{}",
    }),
};

/** What was done for the request; what timers do is none of it. */
const work: string[] = [];
const requests = new AsyncLocalStorage<true>();
const note = (what: string) => {
  if (requests.getStore()) work.push(what);
};
const tracing: Tracing = {
  traceRequests: (handler) => (req, res) => requests.run(true, handler, req, res),
  traceHashes: (queue) => queue,
  traceVerify:
    (verify) =>
    (...check) => {
      note("hash");
      return verify(...check);
    },
  onAccess: () => undefined,
  onStoreCall: ({ operation }) => note(operation),
  close: () => Promise.resolve(),
};

let service: RunningService;
let client: HttpClient;
beforeAll(async () => {
  service = await startService({ REHASH: "off" }, users, { tracing });
  client = createHttpClient(service.url);
  const login = await surfaces["REST login"]?.(client, "trusting", "password");
  expect(login?.status).toBe(200);
});
afterAll(async () => {
  client.close();
  await service.close();
});

async function seenOf({ status, headers, body }: Reply) {
  await new Promise(setImmediate);
  const own = new Set(["date", "x-request-id"]);
  const others = Object.entries(headers).filter(([name]) => !own.has(name));
  return { status, headers: others, body, work: work.splice(0).sort() };
}

describe.each(Object.entries(surfaces))("%s", (_, call) => {
  test.each(Object.entries(classes))("%s tells no kind of user from another", async (_, form) => {
    const seen = [];
    for (const name of Object.keys(kinds)) {
      work.length = 0;
      seen.push(await seenOf(await call(client, ...form(name))));
    }
    const nobody = seen.at(-1);
    expect(nobody?.status).toBeGreaterThanOrEqual(400);
    expect(nobody?.status).toBeLessThan(500);
    expect(seen).toEqual(seen.map(() => nobody));
  });
});

test("the work that is compared is all there is", async () => {
  work.length = 0;
  await surfaces["REST login"]?.(client, "nobody", "wrong");
  await new Promise(setImmediate);
  const writes = Array.from({ length: 4 }, () => "throttle.write");
  expect(work.sort()).toEqual(["hash", "throttle.read", ...writes, "users.findByUsername"]);
});
