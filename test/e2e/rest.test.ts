/**
 * The two REST paths byte for byte, on one kept-alive connection: the rows that `latchkey contract` asks any
 * server, and what takes users or bytes that those cannot.
 */
import { deflateRawSync, deflateSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { rows, rowsOf, rowsOfToken, type ContractRow } from "../../src/cli/contract/rows.js";
import { aspectsOf, differences } from "../../src/contract/aspects.js";
import { basic, createHttpClient, type Call, type HttpClient } from "../support/http.js";
import { expectGolden } from "../support/golden.js";
import { startService, testUser, type RunningService } from "../support/service.js";

const tokenPath = "/api/auth/token";
const loginPath = "/api/v1/authentication/login";

let service: RunningService;
let client: HttpClient;

beforeAll(async () => {
  service = await startService({}, [
    testUser,
    { ...testUser, id: { type: "int", value: "2" }, username: "disabled", disabled: true },
    { ...testUser, id: { type: "int", value: "3" }, username: "hashless", passwordHash: undefined },
  ]);
  client = createHttpClient(service.url);
});
afterAll(async () => {
  client.close();
  await service.close();
});

async function golden(name: string, path: string, call?: Call): Promise<void> {
  expectGolden(name, await client.call(path, call));
}

const authorized = (authorization: string): Call => ({ headers: { authorization } });
const login = (body: unknown): Call => ({
  headers: { "content-type": "application/json" },
  body: typeof body === "string" ? body : JSON.stringify(body),
});
const right = { username: "TestUser", password: "password" };

async function token(): Promise<string> {
  const { body } = await client.call(tokenPath, authorized(basic("TestUser", "password")));
  return (JSON.parse(body) as { token: string }).token;
}

/** The file of `test/golden` that has the answer of a row. */
function goldenOf({ path, expected: { status = "", body = "" } }: ContractRow): string {
  const [, parameter] = /\["(Missing|Invalid) parameter"\]/.exec(body) ?? [];
  const kind = parameter === undefined ? "" : `-${parameter.toLowerCase()}`;
  return `${path === tokenPath ? "token" : "login"}-${status}${kind}`;
}

async function expectRow(row: ContractRow): Promise<void> {
  const reply = await client.call(row.path, row);
  expect(differences(row.expected, aspectsOf(reply))).toEqual([]);
  expectGolden(goldenOf(row), reply);
}

describe("the contract", () => {
  test.each([...rows, ...rowsOf(right)].map((row) => [row.name, row] as const))("%s", (_, row) =>
    expectRow(row),
  );

  test("the rows that need a token", async () => {
    for (const row of rowsOfToken(await token())) await expectRow(row);
  });
});

describe(`POST ${tokenPath}`, () => {
  test("200 for any case of the scheme and any query", async () => {
    await golden("token-200", `${tokenPath}?a=b`, authorized(`bEARER ${await token()}`));
  });

  test("200 with a request body, which is ignored", async () => {
    const body = JSON.stringify({ username: "other" });
    await golden("token-200", tokenPath, { ...authorized(basic("TestUser", "password")), body });
  });

  test.each<[string, Call]>([
    ["a wrong case of the name", authorized(basic("testuser", "password"))],
    ["a disabled user", authorized(basic("disabled", "password"))],
    ["a user without a hash", authorized(basic("hashless", "password"))],
  ])("403 for %s", async (_, call) => {
    await golden("token-403", tokenPath, call);
  });

  test("403 for two authorizations, whichever comes first", async () => {
    const authorizations = [basic("TestUser", "password"), "Bearer a.b.c"];
    for (const pair of [authorizations, authorizations.toReversed()]) {
      const headers = pair.flatMap((value) => ["authorization", value]);
      await golden("token-403", tokenPath, { headers: ["host", "localhost", ...headers] });
    }
  });

  test("403 for a token of a user who was removed", async () => {
    await service.store.users.add({
      ...testUser,
      id: { type: "string", value: "x" },
      username: "x",
    });
    const { body } = await client.call(tokenPath, authorized(basic("x", "password")));
    const bearer = authorized(`Bearer ${(JSON.parse(body) as { token: string }).token}`);
    await golden("token-200", tokenPath, bearer);
    await service.store.users.remove({ type: "string", value: "x" });
    await golden("token-403", tokenPath, bearer);
  });

  test("a 403 without a body leaves the connection usable", async () => {
    const refused = await client.call(tokenPath);
    const accepted = await client.call(tokenPath, authorized(basic("TestUser", "password")));
    expect([refused.status, accepted.status]).toEqual([403, 200]);
    expect(accepted.localPort).toBe(refused.localPort);
  });

  test("413 for a body over 64 KiB, whether its length is declared or not", async () => {
    const body = "a".repeat(65_537);
    await golden("token-413", tokenPath, { body });
    await golden("token-413", tokenPath, { body, headers: { "transfer-encoding": "chunked" } });
    await golden("token-403", tokenPath, { body: body.slice(1) });
  });
});

describe(`POST ${loginPath}`, () => {
  test.each<[string, unknown]>([
    ["a repeated member", '{"username":"TestUser","password":"a","password":"password"}'],
    ["an unpaired surrogate", '{"username":"TestUser","password":"\\ud800"}'],
  ])("400 Missing parameter for %s", async (_, body) => {
    await golden("login-400-missing", loginPath, login(body));
  });

  test("400 Missing parameter for what is not UTF-8", async () => {
    const body = Buffer.from('{"username":"TestUser","password":"password\xff"}', "latin1");
    await golden("login-400-missing", loginPath, { body });
  });

  test.each<[string, unknown]>([
    ["username", { ...right, username: "😀".repeat(257) }],
    ["password", { ...right, password: "é".repeat(513) }],
  ])("400 Invalid parameter for an over-long %s", async (_, body) => {
    await golden("login-400-invalid", loginPath, login(body));
  });

  test.each<[string, unknown]>([
    ["a disabled user", { ...right, username: "disabled" }],
    ["a user without a hash", { ...right, username: "hashless" }],
    ["a password with a NUL", { ...right, password: "password\0" }],
    ["a username with a byte order mark", { ...right, username: "\ufeffTestUser" }],
  ])("401 for %s", async (_, body) => {
    await golden("login-401", loginPath, login(body));
  });

  test.each<[string, unknown]>([
    ["upper case", '{"USERNAME":"TestUser","PASSWORD":"password"}'],
    ["mixed case, one name escaped", '{"userName":"TestUser","\\u0050assword":"password"}'],
  ])("200 for names in %s, as CFML writes them", async (_, body) => {
    await golden("login-200", loginPath, login(body));
  });

  test.each<[string, unknown]>([
    ["the password", '{"username":"TestUser","password":"password","PASSWORD":"password"}'],
    [
      "a name that is escaped",
      '{"username":"a","\\u0055sername":"TestUser","password":"password"}',
    ],
    ["another member", '{"username":"TestUser","password":"password","a":[{"b":1,"B":2}]}'],
    ["a name that only upper case makes one", '{"u\u017fername":"TestUser","password":"password"}'],
  ])("400 Missing parameter where two names differ by case alone: %s", async (_, body) => {
    await golden("login-400-missing", loginPath, login(body));
  });

  test.each<[string, Uint8Array]>([
    ["gzip", gzipSync(JSON.stringify(right))],
    ["x-gzip", gzipSync(JSON.stringify(right))],
    ["deflate", deflateSync(JSON.stringify(right))],
    ["deflate", deflateRawSync(JSON.stringify(right))],
    ["identity", Buffer.from(JSON.stringify(right))],
  ])("200 for a body in %s", async (encoding, body) => {
    const headers = { "content-encoding": encoding };
    await golden("login-200", loginPath, { headers, body });
  });

  test("a compressed body that is too large, broken or in an encoding that is not read", async () => {
    const large = gzipSync(`{"a":"${"a".repeat(65_536)}"}`);
    const call = (encoding: string, body: Uint8Array): Call => ({
      headers: { "content-encoding": encoding },
      body,
    });
    await golden("login-413", loginPath, call("gzip", large));
    await golden("login-400-missing", loginPath, call("gzip", large.subarray(0, 20)));
    await golden("login-415", loginPath, call("br", Buffer.from("{}")));
    await golden("login-415", loginPath, call("gzip, gzip", gzipSync(large)));
    // It is ignored there.
    await golden("token-403", tokenPath, call("br", Buffer.from("{}")));
  });

  test("413 for a body over 64 KiB", async () => {
    await golden("login-413", loginPath, login({ ...right, extra: "a".repeat(65_536) }));
  });

  test("token_exp is the token's exp in the configured time zone, and the message its lifetime", async () => {
    const inNewYork = await startService({
      LEGACY_TIME_ZONE: "America/New_York",
      TOKEN_TTL: "5399s",
    });
    const other = createHttpClient(inNewYork.url);
    try {
      const { body } = await other.call(loginPath, login(right));
      const answer = JSON.parse(body) as { message: string; data: string; token_exp: string };
      const [, claims = ""] = answer.data.split(".");
      const { exp } = JSON.parse(Buffer.from(claims, "base64url").toString()) as { exp: number };
      expect(answer.message).toBe("Bearer token created and it expires in 89 minutes");
      const local = new Date(exp * 1000).toLocaleString("en-US", { timeZone: "America/New_York" });
      const shown = new Date(answer.token_exp.replace(",", "")).toLocaleString("en-US");
      expect(shown).toBe(local);
      expect(answer.token_exp).toMatch(/^[A-Z][a-z]+, \d\d \d{4} \d\d:\d\d:\d\d$/);
    } finally {
      other.close();
      await inNewYork.close();
    }
  });
});
