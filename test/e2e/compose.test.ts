/** The lines that compose.yaml tells to type, twice, with the command itself in the place of docker. */
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import { runShell } from "../support/doc-commands.js";

test("the second start has the encryption key of the first", async () => {
  const lines = [...readFileSync("compose.yaml", "utf8").matchAll(/^# {3}(.*)$/gm)].map(
    ([, line = ""]) => line,
  );
  expect(lines.at(-1)).toBe("docker compose up");
  const folder = mkdtempSync(join(tmpdir(), "latchkey-compose-"));
  const docker = "docker() { set -a; . ./.env; set +a; latchkey serve; stop; latchkey keys list; }";
  const { code, stdout, stderr } = await runShell([docker, ...lines, ...lines], { cwd: folder });
  expect([code, stderr.match(/^error.*$/gm)]).toEqual([0, null]);
  const kids = [...stdout.matchAll(/^signing +(\S+)/gm)].map(([, kid]) => kid);
  expect(kids).toEqual([kids[0], kids[0]]);
  expect(kids[0]).toBeDefined();
  expect(statSync(join(folder, ".env")).mode & 0o077).toBe(0);
  rmSync(folder, { recursive: true });
});
