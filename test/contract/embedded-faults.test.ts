/** Every command that writes, on an embedded store that cannot be written: what it says is what is stored. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { createConfiguredThrottle } from "../../src/app/throttling.js";
import { parseConfig } from "../../src/config/config.js";
import { openEmbeddedStore } from "../../src/store/embedded/embedded-store.js";
import { mountDisk, remountDisk, unmountDisk } from "../support/disk.js";
import { newQuickClock, runProgram } from "../support/program.js";

const main = fileURLToPath(new URL("../../dist/src/main.js", import.meta.url));
const root = mkdtempSync(join(tmpdir(), "latchkey-faults-"));
chmodSync(root, 0o755);
const mounted = join(root, "mounted");
const dataDir = join(mounted, "data");
const publicKey = "test/support/key-vectors/spki.pem";
const newUsers = join(root, "users.ndjson");
spawnSync("mkdir", [mounted]);
const canMount = mountDisk(mounted, 4);

const runAsNobody = (args: readonly string[]) =>
  spawnSync(process.execPath, args, {
    ...{ env: { DATA_DIR: dataDir }, encoding: "utf8", uid: 65_534, gid: 65_534 },
    input: "a password that is long enough",
  });
const canBeRun = canMount && runAsNobody([main, "--version"]).status === 0;
if (!canBeRun)
  process.stderr.write("\n*** SKIPPED: another user's store: he cannot run us ***\n\n");

const commands: readonly (readonly string[])[] = [
  ["users", "add", "eve", "--id", "7", "--password-stdin"],
  ["users", "import", newUsers],
  ["users", "set", "bob", "--role", "admin"],
  ["users", "passwd", "bob", "--password-stdin"],
  ["users", "disable", "bob"],
  ["users", "enable", "dan"],
  ["users", "revoke", "bob"],
  ["keys", "rotate", "--now"],
  ["keys", "import", publicKey, "--kid", "new"],
  ["keys", "revoke", "old"],
  ["takeover", "lead", "30"],
  ["takeover", "finish", "--yes"],
  ["takeover", "abandon", "--yes"],
  ["users", "unlock", "bob"],
  ["users", "remove", "bob"],
];

const latchkey = (argv: readonly string[], input = "a password that is long enough") =>
  runProgram(argv, { env: { DATA_DIR: dataDir }, input, clock: newQuickClock() });

/** All that the commands change but the record of them. */
async function stored(): Promise<string> {
  const store = await openEmbeddedStore({ dataDir, mayCreate: false });
  const users = [];
  for await (const user of store.users.list()) users.push(user);
  const learnt = [];
  for await (const user of store.takeover.list()) learnt.push(user);
  const counted = [];
  for await (const record of store.throttle.list()) counted.push(record);
  const [keys, lead] = [await store.keys.load(), await store.takeover.lead()];
  const text = JSON.stringify([users, keys, lead, learnt, counted]);
  await store.close();
  return text;
}

/** A failed login of bob, and a password of dan that the old server has accepted. */
async function prepare(): Promise<void> {
  const store = await openEmbeddedStore({ dataDir });
  const throttle = createConfiguredThrottle(parseConfig({ DATA_DIR: dataDir }), store);
  const { signal } = new AbortController();
  const permit = await throttle?.admit("bob", "192.0.2.1", Promise.resolve(undefined), signal);
  await permit?.settle("wrong");
  await throttle?.close();
  const [subject, username] = ["2", "dan"];
  await store.takeover.learn({
    ...{ subject, username, names: [username], hash: "$argon2id$learnt", atMs: Date.now() },
    ...{ ownHashCounts: false, from: "old.internal", day: "2026-11-28" },
  });
  await store.close();
}

/** Leaves not a byte on the disk, nor a page in the file. */
async function fill(): Promise<void> {
  for (let bytes = 2 ** 20; bytes >= 1; bytes = Math.floor(bytes / 2)) {
    for (let i = 0; i < 4; i++) {
      try {
        writeFileSync(join(mounted, `ballast-${bytes}-${i}`), Buffer.alloc(bytes));
      } catch {
        // That much has no room.
      }
    }
  }
  const lines = Array.from({ length: 500 }, (_, i) =>
    JSON.stringify({ _id: 1000 + i, username: `filler${i}`, roles: ["x".repeat(1000)] }),
  );
  for (const line of lines) if ((await latchkey(["users", "import", "-"], line)).code !== 0) return;
  throw new Error("the disk is not full");
}

(canMount ? describe : describe.skip)("on a file system that is", () => {
  beforeAll(async () => {
    writeFileSync(newUsers, '{"_id":8,"username":"carl"}\n');
    const users = '{"_id":1,"username":"bob"}\n{"_id":2,"username":"dan","disabled":true}\n';
    for (const argv of [
      ["users", "import", "-"],
      ["keys", "import", publicKey, "--kid", "old"],
      ["keys", "rotate", "--now"],
    ]) {
      expect(await latchkey(argv, users)).toMatchObject({ code: 0 });
    }
    await prepare();
  });
  afterAll(() => {
    // A fault of the test may have left the store open.
    unmountDisk(mounted);
    rmSync(root, { recursive: true });
  });

  test.each([...commands, ["users", "list"], ["doctor"]].map((argv) => [argv.join(" "), argv]))(
    "read-only: %s",
    async (_, argv) => {
      expect(remountDisk(mounted, "ro")).toBe(true);
      const { code, stdout, stderr } = await latchkey(argv as string[]);
      expect(remountDisk(mounted, "rw")).toBe(true);
      expect([code, stdout]).toEqual([1, ""]);
      expect(stderr).toContain(`${join(dataDir, "latchkey.mdb")} cannot be opened: EROFS`);
    },
  );

  (canBeRun ? test : test.skip).each(commands.map((argv) => ({ argv, name: argv.join(" ") })))(
    "another user's: $name",
    ({ argv }) => {
      const { status, stdout, stderr } = runAsNobody([main, ...argv]);
      expect([status, stdout]).toEqual([1, ""]);
      expect(stderr).toMatch(/^error: .*latchkey\.mdb cannot be opened: EACCES/m);
    },
  );

  test("full", async () => {
    await fill();
    const refused: string[] = [];
    for (const argv of commands) {
      const before = await stored();
      const { code, stdout, stderr } = await latchkey(argv);
      const isChanged = (await stored()) !== before;
      expect([argv, code === 0, stderr]).toEqual([argv, isChanged, stderr]);
      if (code === 0) continue;
      expect(stdout).toMatch(/^(0 added, .*\n)?$/);
      expect(stderr).toMatch(/^error: .*the embedded store cannot be written/);
      refused.push(argv.join(" "));
    }
    expect(refused.length).toBeGreaterThan(commands.length / 2);
    // Nothing of the library's own.
    const child = spawnSync(process.execPath, [main, "takeover", "lead", "40"], {
      env: { DATA_DIR: dataDir },
      encoding: "utf8",
    });
    expect([child.status, child.stderr]).toEqual([
      1,
      "error: the lead: the embedded store cannot be written: the disk is full\n",
    ]);
  });
});
