/** One table of behaviour over every protocol, encoding and HTTP version. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type Client } from "@connectrpc/connect";
import { decodeJwt } from "jose";
import type { AuthService } from "../../gen/auth/v1/auth_pb.js";
import { basic } from "../support/http.js";
import { createAuthClient, transports } from "../support/rpc.js";
import { startService, testUser, type RunningService } from "../support/service.js";

const right = { username: "TestUser", password: "password" };

async function failure(call: Promise<unknown>): Promise<ConnectError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof ConnectError) return error;
    throw error;
  }
  throw new Error("the call succeeded");
}

const users = [
  testUser,
  { ...testUser, id: { type: "int", value: "2" }, username: "disabled", disabled: true } as const,
];
const ways = Object.entries(transports).flatMap(([name, transport]) => [
  [name, transport, true] as const,
  [`${name}, unary rpcs by Connect`, transport, false] as const,
]);

describe.each(ways)("%s", (_, createTransport, fastUnary) => {
  let service: RunningService;
  let client: Client<typeof AuthService>;
  beforeAll(async () => {
    service = await startService({}, users, { fastUnary });
    client = createAuthClient(createTransport(service.url));
  });
  afterAll(() => service.close());
  const issue = (authorization?: string) =>
    client.issueToken({}, { ...(authorization && { headers: { authorization } }) });

  test("logs in and renews", async () => {
    let requestId: string | null = null;
    const login = await client.login(right, {
      onHeader: (headers) => (requestId = headers.get("x-request-id")),
    });
    expect(requestId).toMatch(/^[\w-]+$/);
    const { exp, sub } = decodeJwt(login.accessToken);
    expect(sub).toBe("1");
    expect(login.expireTime && timestampMs(login.expireTime)).toBe((exp ?? 0) * 1000);

    const renewed = await issue(`Bearer ${login.accessToken}`);
    expect(renewed.accessToken).not.toBe(login.accessToken);
    expect(decodeJwt(renewed.accessToken)).toMatchObject({ sub: "1" });
    expect(decodeJwt((await issue(basic("TestUser", "password"))).accessToken).sub).toBe("1");
  });

  test.each([
    ["a wrong password", { ...right, password: "Password" }],
    ["an unknown user", { ...right, username: "nobody" }],
    ["a disabled user", { ...right, username: "disabled" }],
    ["a password with a NUL", { ...right, password: "password\0" }],
    ["a username with a byte order mark", { ...right, username: "\ufeffTestUser" }],
  ])("Login: unauthenticated for %s", async (_, request) => {
    const error = await failure(client.login(request));
    expect([error.code, error.rawMessage]).toEqual([Code.Unauthenticated, "invalid credentials"]);
    expect(error.metadata.get("x-request-id")).toBeTruthy();
  });

  test.each([
    ["no metadata", undefined],
    ["a malformed value", "Basic !"],
    ["an unknown scheme", "Digest abc"],
    ["a wrong password", basic("TestUser", "Password")],
    ["an over-long username", basic("a".repeat(257), "password")],
    ["a token that is none", "Bearer a.b.c"],
    ["an over-long token", `Bearer ${"a".repeat(8193)}`],
  ])("IssueToken: unauthenticated for %s", async (_, authorization) => {
    const error = await failure(issue(authorization));
    expect([error.code, error.rawMessage]).toEqual([Code.Unauthenticated, "invalid credentials"]);
  });

  test.each([
    ["no username", { password: "password" }, "username and password are required"],
    ["an empty password", { ...right, password: "" }, "username and password are required"],
    [
      "an over-long username",
      { ...right, username: "😀".repeat(257) },
      "username or password is too long",
    ],
    [
      "an over-long password",
      { ...right, password: "a".repeat(1025) },
      "username or password is too long",
    ],
  ])("Login: invalid_argument for %s", async (_, request, message) => {
    const error = await failure(client.login(request));
    expect([error.code, error.rawMessage]).toEqual([Code.InvalidArgument, message]);
  });

  test("resource_exhausted for a message over 64 KiB", async () => {
    const error = await failure(client.login({ ...right, username: "a".repeat(65_536) }));
    expect(error.code).toBe(Code.ResourceExhausted);
  });
});
