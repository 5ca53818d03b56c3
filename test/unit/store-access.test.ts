import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { openEmbeddedStore } from "../../src/store/embedded/embedded-store.js";
import { runProgram } from "../support/program.js";
import { keptLogs, startService } from "../support/service.js";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "latchkey-"));
});
afterEach(() => rmSync(root, { recursive: true }));

/** What the start says, which is what `doctor` says. */
async function warningsOf(dataDir: string): Promise<readonly string[]> {
  const store = await openEmbeddedStore({ dataDir });
  const warnings = await store.warnings();
  const found: string[] = [];
  for await (const { level, message } of store.inspect({ fix: false, now: () => 0 }))
    if (level === "warning") found.push(message);
  await store.close();
  expect(found).toEqual(warnings);
  return warnings;
}

const modes: readonly [string, (dataDir: string) => void, RegExp[]][] = [
  ["as it is made", () => undefined, []],
  ["in a folder that others can list", (dir) => chmodSync(dir, 0o755), []],
  [
    "whose file others can read",
    (dir) => chmodSync(join(dir, "latchkey.mdb"), 0o644),
    [/latchkey\.mdb can be read or written by every user .*mode 644.*chmod o=/],
  ],
  [
    "whose lock others can write",
    (dir) => chmodSync(join(dir, "latchkey.mdb-lock"), 0o606),
    [/latchkey\.mdb-lock can be read or written/],
  ],
  ["whose file the group can read", (dir) => chmodSync(join(dir, "latchkey.mdb"), 0o640), []],
  [
    "in a folder that others can write",
    (dir) => chmodSync(dir, 0o777),
    [/replace what is in .*data \(mode 777\); chmod o-w/],
  ],
  [
    "in a folder whose parent others can write",
    (dir) => chmodSync(dirname(dir), 0o777),
    [/replace what is in .*latchkey-\w+ \(mode 777\)/],
  ],
  ["in a folder where each may remove only his own", (dir) => chmodSync(dir, 0o1777), []],
];

test.each(modes)("a store %s", async (_, change, expected) => {
  const dataDir = join(root, "data");
  await warningsOf(dataDir);
  change(dataDir);
  const warnings = await warningsOf(dataDir);
  expect(warnings).toHaveLength(expected.length);
  expected.forEach((form, i) => expect(warnings[i]).toMatch(form));
});

test.each(["folder", "file"])(
  "a %s that is a link into a folder that others can write",
  async (kind) => {
    const real = join(root, "open");
    const dataDir = join(root, "data");
    await warningsOf(real);
    if (kind === "folder") symlinkSync(real, dataDir);
    else {
      mkdirSync(dataDir, 0o700);
      symlinkSync(join(real, "latchkey.mdb"), join(dataDir, "latchkey.mdb"));
    }
    expect(await warningsOf(dataDir)).toEqual([]);
    chmodSync(real, 0o777);
    expect((await warningsOf(dataDir)).some((each) => each.includes(real))).toBe(true);
  },
);

test("doctor and the log of a start say it, for a store behind a link", async () => {
  const [real, DATA_DIR] = [join(root, "open"), join(root, "data")];
  await warningsOf(real);
  symlinkSync(real, DATA_DIR);
  chmodSync(real, 0o777);
  chmodSync(join(real, "latchkey.mdb"), 0o644);
  const doctor = (await runProgram(["doctor"], { env: { DATA_DIR } })).stdout;
  const lines: string[] = [];
  const service = await startService({ DATA_DIR }, undefined, { logs: keptLogs(lines) });
  await service.close();
  for (const said of [doctor, lines.join("\n")]) {
    expect(said).toContain(`${join(real, "latchkey.mdb")} can be read or written by every user`);
    expect(said).toContain(`can replace what is in ${real} (mode 777)`);
  }
});
