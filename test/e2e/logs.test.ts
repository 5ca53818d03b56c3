/** The log and the audit events of a real process, whoever reads them. */
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCli, hasPseudoTerminals } from "../support/cli.js";
import { basic, createHttpClient } from "../support/http.js";
import {
  eventually,
  runCommand,
  startServerProcess,
  type ServerProcess,
} from "../support/server-process.js";

const password = "correct horse battery";
let dataDir: string;
let server: ServerProcess | undefined;
beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), "latchkey-"));
  const add = ["users", "add", "ann", "--password-stdin"];
  expect(await runCommand(add, { DATA_DIR: dataDir }, password)).toMatchObject({ exitCode: 0 });
});
afterEach(async () => {
  await server?.stop("SIGKILL");
  rmSync(dataDir, { recursive: true });
});

async function login(url: string, given = password): Promise<number> {
  const client = createHttpClient(url);
  const headers = { authorization: basic("ann", given), "x-request-id": "r-1" };
  const { status } = await client.call("/api/auth/token", { headers });
  client.close();
  return status;
}

/** As docs/operations.md describes it. */
const attempt = {
  time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
  stream: "audit",
  event: "attempt",
  surface: "rest_token",
  reason: "accepted",
  username: "ann",
  clientNetwork: "127.0.0.1",
  requestId: "r-1",
  waitedMs: expect.any(Number),
};

test("audit events go to a file of their own, readable by few, whatever LOG_LEVEL says", async () => {
  const file = join(dataDir, "audit.log");
  const env = { DATA_DIR: dataDir, AUDIT_LOG: file };
  server = await startServerProcess(env);
  expect(await login(server.url)).toBe(200);
  expect(await login(server.url, "wrong")).toBe(403);
  await server.stop();
  const events = readFileSync(file, "utf8").trim().split("\n");
  const parsed = events.map((line) => JSON.parse(line) as Record<string, unknown>);
  const attempts = parsed.filter(({ event }) => event === "attempt");
  expect(attempts).toEqual([attempt, { ...attempt, reason: "wrong_password" }]);
  const keyEvents = parsed.filter(({ event }) => event !== "attempt");
  expect(keyEvents.map(({ event }) => event)).toEqual(["key_generated", "key_signing"]);
  expect(Object.keys(keyEvents[0] ?? {})).toEqual(["time", "stream", "event", "kid"]);
  expect(statSync(file).mode & 0o007).toBe(0);
  expect(server.lines.some(({ stream }) => stream === "audit")).toBe(false);
});

test("by default they are among the lines of the log, marked; off means off", async () => {
  server = await startServerProcess({ DATA_DIR: dataDir, LOG_LEVEL: "info" });
  expect(await login(server.url)).toBe(200);
  await server.stop();
  expect(server.lines.filter(({ event }) => event === "attempt")).toEqual([attempt]);

  server = await startServerProcess({ DATA_DIR: dataDir, AUDIT_LOG: "off" });
  expect(await login(server.url)).toBe(200);
  await server.stop();
  expect(server.lines.some(({ event }) => event === "attempt")).toBe(false);
});

test("a start that stores signing keys in the clear warns", async () => {
  const warningsOf = async (env: Record<string, string>) => {
    server = await startServerProcess({ DATA_DIR: dataDir, ...env });
    await server.stop();
    return server.lines.filter(({ msg }) => /stored in the clear/.test(String(msg)));
  };
  expect(await warningsOf({})).toHaveLength(1);
  expect(await warningsOf({ KEY_ENCRYPTION_KEY: "c0ffee00".repeat(8) })).toEqual([]);
});

test("an audit file that cannot be opened ends the start with 78", async () => {
  const env = { DATA_DIR: dataDir, AUDIT_LOG: "/nowhere/audit.log" };
  expect(await runCommand(["serve"], env)).toMatchObject({
    exitCode: 78,
    stderr: expect.stringContaining("AUDIT_LOG"),
  });
});

test("nobody reads the log: logins go on, lost lines are counted, the end is in time", async () => {
  server = await startServerProcess({ DATA_DIR: dataDir });
  const { child, url, managementUrl } = server;
  child.stdout?.removeAllListeners("data").pause();
  const client = createHttpClient(url);
  const id = "r".repeat(128);
  const flood = async () => {
    const headers = { "x-request-id": id };
    await Promise.all(Array.from({ length: 500 }, () => client.call("/nowhere", { headers })));
    return (await fetch(`${managementUrl}/metrics`)).text();
  };
  const page = await eventually(
    flood,
    (text) => /lines_dropped_total\{stream="log"\} [1-9]/.test(text),
    25_000,
  );
  client.close();
  expect(page).toContain('stream="audit"');
  expect(await login(url)).toBe(200);
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  expect(await exited).toEqual([0, null]);
});

(hasPseudoTerminals ? test : test.skip)("on a terminal it is for people", () => {
  const cli = createCli();
  // The port is taken as soon as the line is there; ^C ends it.
  const { stdout } = cli.runOnTerminal(["serve"], [{ prompt: "serving", keys: "\u0003" }]);
  cli.remove();
  expect(stdout).toMatch(/INFO.*started serving/);
  expect(stdout).not.toContain('{"level"');
});
