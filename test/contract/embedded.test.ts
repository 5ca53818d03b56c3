import { once } from "node:events";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { open } from "lmdb";
import { openEmbeddedStore } from "../../src/store/embedded/embedded-store.js";
import { faultOfFile, noteWhole } from "../../src/store/embedded/file.js";
import { startTypeScript } from "../support/typescript-process.js";
import type { ProcessOptions } from "../support/typescript-process.js";
import { newUser } from "../support/users.js";
import { runKeyStoreContract, runUserStoreContract } from "./user-store.js";
import type { StorePlace } from "./user-store.js";

function newPlace(): Promise<StorePlace> {
  const dataDir = mkdtempSync(join(tmpdir(), "latchkey-"));
  return Promise.resolve({
    open: () => openEmbeddedStore({ dataDir }),
    dispose: async () => rm(dataDir, { recursive: true }),
  });
}

runUserStoreContract("embedded", newPlace);
runKeyStoreContract("embedded", newPlace);

let root = "";
let dataDir = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "latchkey-"));
  dataDir = root;
});
afterEach(() => rm(root, { recursive: true }));

/** The lines of a writer of its own process, as they come. */
function startWriter(
  idPrefix: string,
  namePrefix: string,
  users: number,
  options?: ProcessOptions,
) {
  const args = [dataDir, idPrefix, namePrefix, String(users)];
  const writer = startTypeScript("embedded-writer.ts", args, options);
  const lines: string[] = [];
  createInterface(writer.stdout).on("line", (line) => lines.push(line));
  const exited = once(writer, "close");
  return { writer, lines, exited };
}

const addedBy = (lines: readonly string[]) =>
  lines.flatMap((line) => (line.startsWith("added ") ? [line.slice("added ".length)] : []));

describe("embedded: processes", () => {
  test("nothing that was acknowledged is lost when a writer is killed, twenty times", async () => {
    const acknowledged: string[] = [];
    for (let round = 0; round < 20; round++) {
      const { writer, lines, exited } = startWriter("", `r${round}-`, 1_000_000);
      while (lines.length < 20 + round * 7) await once(writer.stdout, "data");
      writer.kill("SIGKILL");
      await exited;
      acknowledged.push(...addedBy(lines));
    }
    const store = await openEmbeddedStore({ dataDir });
    for (const username of acknowledged) {
      expect((await store.users.findByUsername(username))?.id.value).toBe(username);
      expect((await store.users.findBySubject(username))?.username).toBe(username);
    }
    expect(acknowledged.length).toBeGreaterThan(20 * 20);
    expect(await store.users.add(newUser())).toBe("added");
    await store.close();
  });

  test("of three processes that add the same usernames one adds each", async () => {
    const store = await openEmbeddedStore({ dataDir });
    const writers = ["a-", "b-", "c-"].map((idPrefix) => startWriter(idPrefix, "name", 500));
    await Promise.all(writers.map(({ exited }) => exited));
    const added = writers.map(({ lines }) => addedBy(lines));
    expect(added.flat().sort()).toEqual(Array.from({ length: 500 }, (_, i) => `name${i}`).sort());
    for (const [i, names] of added.entries()) {
      for (const username of names) {
        const user = await store.users.findByUsername(username);
        expect(user?.id.value).toBe(`${["a-", "b-", "c-"][i] ?? ""}${username}`);
      }
    }
    await store.close();
  });

  test("a full disk is store_unavailable, and what is stored can still be read", async () => {
    const shell = `trap "" XFSZ; ulimit -f 400; exec "$@"`;
    const { lines, exited } = startWriter("", "name", 1_000_000, { shell });
    await exited;
    expect(addedBy(lines).length).toBeGreaterThan(10);
    expect(lines.filter((line) => line.startsWith("store_unavailable ")).length).toBeGreaterThan(0);
    expect(lines.at(-1)).toBe("done name0");
    const store = await openEmbeddedStore({ dataDir });
    for (const username of addedBy(lines)) {
      expect(await store.users.findByUsername(username)).toBeDefined();
    }
    await store.close();
  });
});

describe("embedded: the file", () => {
  const path = () => join(dataDir, "latchkey.mdb");

  async function fill(users: number) {
    const store = await openEmbeddedStore({ dataDir });
    const all = Array.from({ length: users }, (_, i) =>
      newUser({ id: { type: "int", value: String(i) }, username: `user${i}` }),
    );
    await store.users.import(all, { onConflict: "fail", replacedAt: new Date(), dryRun: false });
    await store.keys.save("x".repeat(20_000), 0);
    await store.close();
  }

  test("is the owner's alone, in a folder made for it", async () => {
    dataDir = join(dataDir, "deep", "er");
    await (await openEmbeddedStore({ dataDir })).close();
    const mode = (name: string) => statSync(name).mode & 0o777;
    expect([mode(dataDir), mode(path()), mode(`${path()}-lock`)]).toEqual([0o700, 0o600, 0o600]);
  });

  /** Each makes of a sound file, of 4 KiB pages, one that is not. */
  const damages: [string, (bytes: Buffer) => Buffer][] = [
    ["a text", () => Buffer.from("hello\n")],
    ["a long text", () => Buffer.from("hello\n".repeat(50_000))],
    ["zeros", () => Buffer.alloc(100_000)],
    ["half a page", (bytes) => bytes.subarray(0, 2048)],
    ["one page", (bytes) => bytes.subarray(0, 4096)],
    ["half the file", (bytes) => bytes.subarray(0, bytes.length >> 1)],
    ["all but a byte", (bytes) => bytes.subarray(0, bytes.length - 1)],
    ["without its first page", (bytes) => bytes.fill(0xaa, 0, 4096)],
    ["without its second page", (bytes) => bytes.fill(0, 4096, 8192)],
    ["noise but for its first pages", (bytes) => bytes.fill(0xaa, 8192)],
    ["zeros in the middle", (bytes) => bytes.fill(0, 40_960, bytes.length - 40_960)],
    ["of another version of LMDB", (bytes) => (bytes.writeUInt32LE(1, 28), bytes)],
  ];
  test.each(damages)("that is %s is refused by name and left as it is", async (_, damage) => {
    await fill(2000);
    const damaged = Buffer.from(damage(readFileSync(path())));
    writeFileSync(path(), damaged);
    await expect(openEmbeddedStore({ dataDir })).rejects.toMatchObject({
      name: "EmbeddedStoreError",
      message: expect.stringContaining(path()) as unknown,
    });
    expect(readFileSync(path()).equals(damaged)).toBe(true);
  });

  test("is read in full at a start unless its note says that nothing has changed since it was closed", async () => {
    await fill(2000);
    const note = `${path()}-whole`;
    expect(statSync(note).mode & 0o777).toBe(0o600);
    const damaged = readFileSync(path()).fill(0xaa, 8192);
    writeFileSync(path(), damaged);
    expect(faultOfFile(path())).toBe("is damaged");
    noteWhole(path());
    expect(faultOfFile(path())).toBeUndefined();
    utimesSync(path(), 0, 0);
    expect(faultOfFile(path())).toBe("is damaged");
    rmSync(note);
    mkdirSync(note);
    expect(() => noteWhole(path())).not.toThrow();
    expect(faultOfFile(path())).toBe("is damaged");
  });

  test("may be shorter than its last page if that one is free", async () => {
    await fill(2000);
    const bytes = readFileSync(path());
    for (const meta of [24, 4096 + 24]) {
      bytes.writeBigUInt64LE(BigInt(bytes.length / 4096 + 5), meta + 120);
    }
    writeFileSync(path(), bytes);
    const store = await openEmbeddedStore({ dataDir });
    expect((await store.users.findBySubject("1999"))?.username).toBe("user1999");
    await store.close();
  });

  test("of another program's LMDB is refused, and nothing is written to it", async () => {
    const foreign = open({ path: path(), noSubdir: true, overlappingSync: false });
    await foreign.openDB({ name: "theirs" }).put("key", "value");
    await foreign.close();
    await expect(openEmbeddedStore({ dataDir })).rejects.toThrow(
      /latchkey\.mdb is not an embedded store/,
    );
    const again = open({ path: path(), noSubdir: true, overlappingSync: false });
    expect([...again.getKeys()]).toEqual(["theirs"]);
    await again.close();
  });

  test("of a later format is refused", async () => {
    await fill(1);
    const later = open({ path: path(), noSubdir: true, overlappingSync: false });
    await later.openDB({ name: "meta", encoding: "json" }).put("format", 2);
    await later.close();
    await expect(openEmbeddedStore({ dataDir })).rejects.toThrow(/latchkey\.mdb has format 2/);
  });

  test("that cannot be made names the folder", async () => {
    writeFileSync(join(dataDir, "file"), "");
    dataDir = join(dataDir, "file", "folder");
    await expect(openEmbeddedStore({ dataDir })).rejects.toThrow(
      `${path()} cannot be opened: ENOTDIR`,
    );
  });
});
