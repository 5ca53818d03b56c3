/** Every command as the first thing that is asked of a store, and of a place that has none. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { MongoClient } from "mongodb";
import { startTestMongo, type TestMongo } from "../support/mongo.js";
import { allCommands, runProgram } from "../support/program.js";

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

async function runIn(env: object, argv: readonly string[]) {
  const input = "a password that is long enough\n";
  const { code, stdout, stderr } = await runProgram(argv, { env, input });
  return { code, said: stdout + stderr };
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
  "takeover status": [],
  "takeover lead": ["5"],
  "takeover finish": ["--yes"],
  "takeover abandon": ["--yes"],
  audit: [],
  doctor: [],
};
/** What one writes before there are users: who leads, and that somebody said so. */
const made: Readonly<Record<string, readonly string[]>> = {
  "takeover lead": ["latchkey_audit", "latchkey_takeover"],
};
const leaves = allCommands()
  .map(([path]) => path)
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

  test("makes nothing in MongoDB, and never says that it is down", async () => {
    const MONGODB_URI = mongo?.newDatabase() ?? "";
    const { said } = await runIn({ MONGODB_URI }, argv);
    expect(said).not.toContain("does not answer");
    const client = new MongoClient(MONGODB_URI);
    const collections = await client.db().listCollections().toArray();
    await client.close();
    expect(collections.map(({ name }) => name).sort()).toEqual(made[leaf] ?? []);
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
