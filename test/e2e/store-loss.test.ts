/** The embedded store deleted or full under a running server: readiness, the log and doctor say so. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { openEmbeddedStore } from "../../src/store/embedded/embedded-store.js";
import { watchStore } from "../../src/app/store-watch.js";
import type { Store } from "../../src/store/store.js";
import { keptLogs, startService } from "../support/service.js";
import { eventually } from "../support/server-process.js";
import { newUser } from "../support/users.js";

async function problems(managementUrl: string): Promise<{ status: number; text: string }> {
  const answer = await fetch(`${managementUrl}/readyz`);
  return { status: answer.status, text: await answer.text() };
}

test("a folder that is deleted under a running server makes it not ready, with a line in the log", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "latchkey-"));
  const lines: string[] = [];
  const service = await startService({ DATA_DIR: dataDir }, undefined, { logs: keptLogs(lines) });
  expect((await problems(service.managementUrl)).status).toBe(200);
  rmSync(dataDir, { recursive: true });
  const { status } = await eventually(
    () => problems(service.managementUrl),
    (answer) => answer.text.includes("the store cannot be written"),
    60_000,
  );
  expect(status).toBe(503);
  expect(lines.filter((line) => line.includes("store_failed"))).toHaveLength(1);
  await expect(service.store.users.add(newUser())).rejects.toMatchObject({
    code: "store_unavailable",
    message: expect.stringContaining("deleted or replaced"),
  });
  // The service removes its folder, which is gone already.
  await service.close();
});

test("only a change is told: that writing fails, and that it works again", async () => {
  const said: unknown[] = [];
  let fault: Error | undefined = new Error("full");
  const probe = () => (fault ? Promise.reject(fault) : Promise.resolve());
  const stop = watchStore({ probe }, (error) => said.push(error), 5);
  await eventually(
    () => Promise.resolve(said.length),
    (count) => count === 1,
    5000,
  );
  fault = undefined;
  await eventually(
    () => Promise.resolve(said.length),
    (count) => count === 2,
    5000,
  );
  stop();
  expect(said).toEqual([expect.objectContaining({ message: "full" }), undefined]);
});

/** A file system of 3 MiB, which only root can make. */
const mounted = mkdtempSync(join(tmpdir(), "latchkey-full-"));
const canMount =
  spawnSync("mount", ["-t", "tmpfs", "-o", "size=3m", "tmpfs", mounted]).status === 0;
if (!canMount && process.env["CI"])
  throw new Error("the test of a full disk needs to mount a tmpfs");
if (!canMount) process.stderr.write("\n*** SKIPPED: a full disk, which needs root ***\n\n");

(canMount ? describe : describe.skip)("a full disk", () => {
  let store: Store;
  beforeAll(async () => {
    store = await openEmbeddedStore({ dataDir: join(mounted, "data") });
    await store.users.add(newUser());
    for (let bytes = 2 ** 20; bytes >= 1; bytes = Math.floor(bytes / 2)) {
      for (let i = 0; i < 4; i++) {
        try {
          writeFileSync(join(mounted, `ballast-${bytes}-${i}`), Buffer.alloc(bytes));
        } catch {
          // That much has no room.
        }
      }
    }
    // What LMDB has left over of the file.
    for (let i = 0; i < 2000; i++) {
      const id = { type: "int", value: String(100 + i) } as const;
      const user = newUser({ id, username: `filler${i}`, roles: ["x".repeat(1000)] });
      if ((await store.users.add(user).catch(() => "full")) === "full") break;
    }
  });
  afterAll(async () => {
    await store.close();
    spawnSync("umount", [mounted]);
    rmSync(mounted, { recursive: true, force: true });
  });

  test("every write is refused, and nothing of it is stored", async () => {
    const user = newUser({
      id: { type: "int", value: "9" },
      username: "bob",
      roles: ["x".repeat(9000)],
    });
    await expect(store.users.add(user)).rejects.toMatchObject({ code: "store_unavailable" });
    expect(await store.users.findByUsername("bob")).toBeUndefined();
    expect((await store.users.findByUsername("alice"))?.username).toBe("alice");
  });

  test("doctor's look at it is an error", async () => {
    const findings = [];
    for await (const finding of store.inspect({ fix: false, now: Date.now }))
      findings.push(finding);
    expect(findings).toContainEqual(
      expect.objectContaining({ level: "error", check: "connection" }),
    );
  });
});
