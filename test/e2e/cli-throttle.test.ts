/** What an operator sees of failed logins, and forgets, while a server counts them. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { basic, createHttpClient, type HttpClient } from "../support/http.js";
import { runCommand, startServerProcess, type ServerProcess } from "../support/server-process.js";

const password = "correct horse battery";
let env: Record<string, string>;
let server: ServerProcess;
let client: HttpClient;

beforeAll(async () => {
  env = { DATA_DIR: mkdtempSync(join(tmpdir(), "latchkey-")), THROTTLE_FAILURES: "3" };
  server = await startServerProcess(env);
  client = createHttpClient(server.url);
  const added = await runCommand(["users", "add", "ann", "--password-stdin"], env, password);
  expect(added).toMatchObject({ exitCode: 0 });
});
afterAll(async () => {
  client.close();
  await server.stop();
  rmSync(env["DATA_DIR"] ?? "", { recursive: true });
});

const attempt = async (username: string, secret: string) => {
  const headers = { authorization: basic(username, secret) };
  return (await client.call("/api/auth/token", { headers })).status;
};
const latchkey = (...args: string[]) => runCommand(args, env);

test("the list names users and networks, unlock lets in at once", async () => {
  for (let i = 0; i < 3; i++) expect(await attempt("ann", "wrong")).toBe(403);
  expect(await attempt("ann", password)).toBe(429);
  expect(await attempt("nobody", "wrong")).toBe(403);

  const { stdout } = await latchkey("throttle", "list", "--json");
  const entries = stdout.split("\n").flatMap((line) => (line ? [JSON.parse(line) as object] : []));
  expect(entries).toContainEqual(
    expect.objectContaining({ scope: "username_and_network", username: "ann", failures: 3 }),
  );
  expect(entries).toContainEqual(
    expect.objectContaining({ scope: "network", network: "127.0.0.1", failures: 4 }),
  );
  expect(stdout).not.toContain("nobody");
  expect((await latchkey("throttle", "list")).stdout).toMatch(/^SCOPE +USERNAME[^]*\bann\b/);

  expect((await latchkey("users", "unlock", "ann")).stdout).toBe("unlocked ann\n");
  expect(await attempt("ann", password)).toBe(200);
  expect((await latchkey("users", "unlock", "nobody-else")).stdout).toContain("no failed logins");
});

test("without a throttle there is nothing to list", async () => {
  const off = { ...env, THROTTLE_FAILURES: "0" };
  const { exitCode, stderr } = await runCommand(["throttle", "list"], off);
  expect([exitCode, stderr]).toEqual([1, "error: throttling is off: THROTTLE_FAILURES is 0\n"]);
});
