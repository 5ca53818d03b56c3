/** Every command as the first thing that is asked of a store, and of a place that has none. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { Command } from "commander";
import { MongoClient } from "mongodb";
import { createProgram, run } from "../../src/cli/program.js";
import { startTestMongo, type TestMongo } from "../support/mongo.js";

let mongo: TestMongo | undefined;
let folder: string;
beforeAll(async () => {
  mongo = await startTestMongo();
  if (mongo === undefined) throw new Error("these tests need MongoDB");
  folder = mkdtempSync(join(tmpdir(), "latchkey-"));
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await mongo?.dispose();
});

function terminalOf(env: object) {
  const stdout = new PassThrough({ encoding: "utf8" });
  const stderr = new PassThrough({ encoding: "utf8" });
  const stdin = Readable.from([Buffer.from("a password that is long enough\n")]);
  const terminal = {
    ...{ env: { ...env }, stdin, stdout, stderr },
    nodeVersion: process.versions.node,
    interruption: () => new AbortController().signal,
    onHangup: () => undefined,
  };
  return { terminal, said: () => String(stdout.read() ?? "") + String(stderr.read() ?? "") };
}

const clock = { now: () => Date.now(), sleep };

async function runIn(env: object, argv: readonly string[]) {
  const { terminal, said } = terminalOf(env);
  const code = await run(argv, terminal, clock);
  return { code, said: said() };
}

function leavesOf(command: Command, path: readonly string[] = []): string[] {
  if (command.commands.length === 0) return [path.join(" ")];
  return command.commands.flatMap((each) => leavesOf(each, [...path, each.name()]));
}

/** Those that make a store where there is none. */
const makers: Readonly<Record<string, readonly string[]>> = {
  "users add": ["ann", "--password-stdin"],
  "users import": ["/dev/null"],
  "keys import": ["test/support/key-vectors/pkcs8.pem"],
};
/** Those that ask no store. */
const storeless = ["serve", "config", "contract", "completion", "help"];
/** What the others are asked; a command without a row fails. */
const readers: Readonly<Record<string, readonly string[]>> = {
  "users list": [],
  "users export": [],
  "users show": ["ann"],
  "users disable": ["ann"],
  "users enable": ["ann"],
  "users remove": ["ann"],
  "users revoke": ["ann"],
  "users unlock": ["ann"],
  "users passwd": ["ann", "--password-stdin"],
  "users set": ["ann", "--role", "admin"],
  "keys list": [],
  "keys rotate": [],
  "keys revoke": ["a-kid"],
  "throttle list": [],
  audit: [],
  doctor: [],
};
/** What is recorded before it is done, whether or not there turns out to be something to do. */
const recorded: Readonly<Record<string, readonly string[]>> = {
  "users unlock": ["latchkey_audit"],
  "keys rotate": ["latchkey_audit", "latchkey_keys"],
  "keys revoke": ["latchkey_audit"],
};
const leaves = leavesOf(createProgram({ terminal: terminalOf({}).terminal, clock, exitCode: 0 }))
  .filter((leaf) => !storeless.includes(leaf))
  .filter((leaf) => !(leaf in makers));

describe.each(leaves)("%s", (leaf) => {
  const argv = [...leaf.split(" "), ...(readers[leaf] ?? ["no row for this command"])];

  test("has a row in the table", () => expect(Object.keys(readers)).toContain(leaf));

  test("makes no embedded store, and names the place", async () => {
    const dataDir = join(folder, `absent-${leaf.replace(" ", "-")}`);
    const { code, said } = await runIn({ DATA_DIR: dataDir }, argv);
    expect({ code, said }).toEqual({
      code: 1,
      said: expect.stringContaining(join(dataDir, "latchkey.mdb")),
    });
    expect(existsSync(dataDir)).toBe(false);
  });

  test("makes nothing in MongoDB but a record, and never says that it is down", async () => {
    const MONGODB_URI = mongo?.newDatabase() ?? "";
    const { said } = await runIn({ MONGODB_URI }, argv);
    expect(said).not.toContain("does not answer");
    const client = new MongoClient(MONGODB_URI);
    const collections = await client.db().listCollections().toArray();
    await client.close();
    expect(collections.map(({ name }) => name).sort()).toEqual(recorded[leaf] ?? []);
  });
});

test("what is listed first is listed whole", async () => {
  const MONGODB_URI = mongo?.newDatabase() ?? "";
  await runIn({ MONGODB_URI }, ["users", "add", "ann", "--password-stdin"]);
  for (const argv of [
    ["users", "list"],
    ["users", "export"],
    ["users", "show", "ann"],
    ["audit"],
  ]) {
    const { code, said } = await runIn({ MONGODB_URI }, argv);
    expect([code, said]).toEqual([0, expect.stringContaining("ann")]);
  }
});

test("doctor says where it found no users", async () => {
  const MONGODB_URI = mongo?.newDatabase() ?? "";
  const { code, said } = await runIn({ MONGODB_URI }, ["doctor"]);
  expect(code).toBe(1);
  expect(said).toContain(`0 users in the collection users of the database`);
});

test.each(["/proc/latchkey", "/dev/null/latchkey"])(
  "DATA_DIR=%s ends with a message",
  async (dataDir) => {
    const { code, said } = await runIn({ DATA_DIR: dataDir }, [
      "users",
      "add",
      "ann",
      "--password-stdin",
    ]);
    expect([code, said]).toEqual([
      1,
      expect.stringContaining(`${dataDir}/latchkey.mdb cannot be opened`),
    ]);
  },
);
