/** The REST paths as clients that are not ours see them: curl, and Python on one kept-alive connection. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { expectGolden } from "../support/golden.js";
import type { Reply } from "../support/http.js";
import { startService, testUser, type RunningService } from "../support/service.js";
import { describeWith, run } from "../support/toolchain.js";

const tokenPath = "/api/auth/token";
const loginPath = "/api/v1/authentication/login";
const user = ["--user", "TestUser:password"];
const json = (body: object) => ["--json", JSON.stringify(body)];
const right = { username: "TestUser", password: "password" };

let service: RunningService;
let unavailable: RunningService;
beforeAll(async () => {
  [service, unavailable] = await Promise.all([
    startService({}, [
      testUser,
      { ...testUser, id: { type: "int", value: "2" }, username: "disabled", disabled: true },
    ]),
    startService({ MONGODB_URI: "mongodb://127.0.0.1:1/latchkey" }, []),
  ]);
});
afterAll(() => Promise.all([service.close(), unavailable.close()]));

/** The golden file of each documented row, and what makes curl ask for it. */
const rows: readonly (readonly [string, string, string, readonly string[]])[] = [
  ["token-200", "Basic", tokenPath, ["-X", "POST", ...user]],
  ["token-403", "no authorization", tokenPath, ["-X", "POST"]],
  ["token-403", "an unknown scheme", tokenPath, ["-X", "POST", "-H", "authorization: Digest a"]],
  ["token-403", "a malformed value", tokenPath, ["-X", "POST", "-H", "authorization: Basic !"]],
  ["token-403", "a wrong password", tokenPath, ["-X", "POST", "-u", "TestUser:Password"]],
  ["token-403", "an unknown user", tokenPath, ["-X", "POST", "-u", "nobody:password"]],
  ["token-403", "a disabled user", tokenPath, ["-X", "POST", "-u", "disabled:password"]],
  ["token-403", "a forged token", tokenPath, ["-X", "POST", "--oauth2-bearer", "a.b.c"]],
  ["token-405", "a wrong method", tokenPath, ["-X", "GET"]],
  ["token-413", "a body too large", tokenPath, ["--data", "a".repeat(65_537)]],
  ["login-200", "the right pair", loginPath, json(right)],
  ["login-400-missing", "no object", loginPath, ["--data", "username=TestUser"]],
  ["login-400-missing", "an empty password", loginPath, json({ ...right, password: "" })],
  [
    "login-400-invalid",
    "an over-long name",
    loginPath,
    json({ ...right, username: "a".repeat(257) }),
  ],
  ["login-401", "a wrong password", loginPath, json({ ...right, password: "Password" })],
  ["login-401", "an unknown user", loginPath, json({ ...right, username: "nobody" })],
  ["login-401", "a disabled user", loginPath, json({ ...right, username: "disabled" })],
  ["login-405", "a wrong method", loginPath, ["-X", "GET"]],
  ["login-413", "a body too large", loginPath, ["--data", "a".repeat(65_537)]],
];

await describeWith({ curl: ["--version"] }, "curl", () => {
  async function curl({ url }: RunningService, path: string, args: readonly string[]) {
    return readReply(await run("curl", ["-sS", "-i", ...args, url + path]));
  }

  test.each(rows)("%s for %s", async (golden, _, path, args) => {
    expectGolden(golden, await curl(service, path, args));
  });

  test("token-200 for Bearer", async () => {
    const { body } = await curl(service, tokenPath, ["-X", "POST", ...user]);
    const { token } = JSON.parse(body) as { token: string };
    const args = ["-X", "POST", "--oauth2-bearer", token];
    expectGolden("token-200", await curl(service, tokenPath, args));
  });

  test.each([
    ["token-500-store", tokenPath, ["-X", "POST", ...user]],
    ["login-503-store", loginPath, json(right)],
  ])("%s without a store", async (golden, path, args) => {
    expectGolden(golden, await curl(unavailable, path, args));
  });

  test("takes a 200 on the connection of a 403", async () => {
    const url = service.url + tokenPath;
    const format = [
      "-sS",
      "-o",
      "/dev/null",
      "-X",
      "POST",
      "-w",
      "%{http_code} %{num_connects}\\n",
    ];
    const output = await run("curl", [...format, url, "--next", ...format, ...user, url]);
    expect(output).toBe("403 1\n200 0\n");
  });
});

const python = `
import http.client, json, sys
connection = http.client.HTTPConnection(sys.argv[1], timeout=10)
def post(headers):
    connection.request("POST", "${tokenPath}", headers=headers)
    response = connection.getresponse()
    return response.status, len(response.read()), connection.sock.getsockname()
basic = {"Authorization": "Basic VGVzdFVzZXI6cGFzc3dvcmQ="}
print(json.dumps([post(headers) for headers in ({}, basic, {}, basic)]))
`;

await describeWith({ python3: ["--version"] }, "Python's http.client", () => {
  test("takes a 200 after a 403 without a body on one connection", async () => {
    const output = await run("python3", ["-c", python, new URL(service.url).host]);
    const answers = JSON.parse(output) as [number, number, [string, number]][];
    expect(answers.map(([status]) => status)).toEqual([403, 200, 403, 200]);
    expect(answers.map(([, length]) => length > 0)).toEqual([false, true, false, true]);
    expect(new Set(answers.map(([, , [, port]]) => port)).size).toBe(1);
  });
});

/** What `curl -i` prints. */
function readReply(output: string): Reply {
  const [head = "", body = ""] = output.split(/\r\n\r\n([^]*)/);
  const [status = "", ...lines] = head.split("\r\n");
  const headers = lines.map((line) => {
    const [name = "", value = ""] = line.split(/: (.*)/);
    return [name.toLowerCase(), value] as const;
  });
  return {
    status: Number(status.split(" ")[1]),
    headers: Object.fromEntries(headers),
    body,
    localPort: undefined,
  };
}
