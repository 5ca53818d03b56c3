import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { run } from "../../src/cli/program.js";

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), "latchkey-cli-"));
});
afterEach(() => rmSync(dataDir, { recursive: true }));

/** A command line whose clock says `times` one after the other, then goes on by what is slept. */
async function runAt(times: number[], args: string[], input = "") {
  let nowMs = 0;
  const stdout = new PassThrough({ encoding: "utf8" });
  const terminal = {
    env: { DATA_DIR: dataDir },
    nodeVersion: "24.18.1",
    stdin: Readable.from([Buffer.from(input)]),
    stdout,
    stderr: new PassThrough(),
    interruption: () => new AbortController().signal,
    onHangup: () => undefined,
  };
  const code = await run(args, terminal, {
    now: () => (nowMs = times.shift() ?? nowMs),
    sleep: (milliseconds) => Promise.resolve((nowMs += milliseconds)),
  });
  return { code, stdout: String(stdout.read() ?? ""), nowMs };
}

const second = Date.parse("2025-01-01T00:00:00Z");

test.each([
  ["within its second", [second + 400, second + 500], second + 400],
  ["while the second turns", [second + 999, second + 1001, second + 1002], second + 1002],
])(
  "a revocation written %s covers that second and returns after it",
  async (_, times, expected) => {
    const add = ["users", "add", "bob", "--password-stdin"];
    expect((await runAt([second - 5000], add, "long enough for this")).code).toBe(0);
    const { code, nowMs } = await runAt([second, ...times], ["users", "revoke", "bob"]);
    expect(code).toBe(0);
    const { stdout } = await runAt([], ["users", "show", "bob", "--json"]);
    const { tokensValidAfter } = JSON.parse(stdout) as { tokensValidAfter: string };
    expect(Date.parse(tokensValidAfter)).toBe(expected);
    expect(nowMs).toBe((Math.floor(expected / 1000) + 1) * 1000);
  },
);
