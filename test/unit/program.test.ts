/** What holds for every command, over the whole tree of them. */
import { afterAll, describe, expect, test } from "@jest/globals";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { generateKeyPairSync } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { allCommands, newQuickClock, runProgram } from "../support/program.js";

const folder = mkdtempSync(join(tmpdir(), "latchkey-program-"));
afterAll(() => rmSync(folder, { recursive: true }));

const clock = newQuickClock();
const latchkey = (args: readonly string[], { env = {}, input = "" } = {}) =>
  runProgram(args, { env: { DATA_DIR: join(folder, "data"), ...env }, input, clock });

const commands = allCommands();

const operandsOf = (command: Command) =>
  command.registeredArguments.filter(({ required }) => required).map((argument) => argument.name());

describe.each(commands)("%s", (path, command) => {
  const words = path.split(" ");

  test("has help in plain words, --json, an example of itself and the exit codes", async () => {
    const { code, stdout } = await latchkey([...words, "--help"]);
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: latchkey ${path}`);
    expect(stdout).toMatch(/^ {2}--json /m);
    expect(stdout.replaceAll(/\s+/g, " ")).toContain("0 done, 1 failed, 2 wrong usage, 78 wrong");
    expect(stdout.slice(stdout.indexOf("Example:"))).toContain(`latchkey ${path}`);
    expect(command.description()).toMatch(/^[A-Z][^]*\.$/);
  });

  test("ends with 2 for an option that it does not know, and says which", async () => {
    const operands = operandsOf(command).map(() => "x");
    const { code, stdout, stderr } = await latchkey([...words, ...operands, "--bogus"]);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/^error: unknown option '--bogus'[^\n]*\n$/);
  });
});

const withoutConfiguration = ["contract", "completion"];

test.each(commands.filter(([path]) => !withoutConfiguration.includes(path)))(
  "%s ends with 78 for a wrong configuration",
  async (path, command) => {
    const operands = operandsOf(command).map((name) =>
      name === "file" ? import.meta.filename : "x",
    );
    const options = { "users set": ["--role", "x"] }[path] ?? [];
    const env = { PORT: "http", LATCHKEY_TEST: "1" };
    const { code, stderr } = await latchkey([...path.split(" "), ...operands, ...options], { env });
    // An import of keys looks at the file first.
    expect(code).toBe(78);
    if (path !== "keys import") expect(stderr).toContain("PORT");
  },
);

describe("unknown commands", () => {
  test.each([
    ["sreve", 'unknown command "sreve"; did you mean serve?'],
    ["user list", 'unknown command "user"; did you mean users?'],
    ["users lst", 'unknown command "lst"; did you mean list?'],
    ["keys frobnicate", 'unknown command "frobnicate"; see latchkey keys --help'],
    ["frobnicate", 'unknown command "frobnicate"; see latchkey --help'],
  ])("%s", async (line, message) => {
    const result = await latchkey(line.split(" "));
    expect(result).toEqual({ code: 2, stdout: "", stderr: `error: ${message}\n` });
  });
});

test("an import that replaces a hash ends the tokens of the second in which it was written", async () => {
  const env = { DATA_DIR: join(folder, "replaced") };
  const hashes = [
    "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
    "$2b$12$EXRkfkdmXn2gzds2SSitu.MW9.gAVqa9eLS1//RYtYCmB1eLHg.9q",
  ];
  const lines = (hash = "") =>
    [
      { _id: 1, username: "ann", passwordHash: hash },
      { _id: 2, username: "bob", passwordHash: hashes[0] },
    ]
      .map((user) => `${JSON.stringify(user)}\n`)
      .join("");
  await latchkey(["users", "import", "-"], { env, input: lines(hashes[0]) });
  let nowMs = Date.UTC(2026, 0, 1);
  // The second turns between any two looks.
  const slow = { ...clock, now: () => (nowMs += 1000) };
  const args = ["users", "import", "-", "--on-conflict", "replace"];
  const startMs = nowMs;
  const input = lines(hashes[1]);
  expect(await runProgram(args, { env, input, clock: slow })).toMatchObject({ code: 0 });
  const users = (await latchkey(["users", "list", "--json"], { env })).stdout
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as { username: string; tokensValidAfter: string | null });
  const endOf = (name: string) =>
    users.find(({ username }) => username === name)?.tokensValidAfter ?? null;
  expect(Date.parse(endOf("ann") ?? "")).toBeGreaterThan(startMs + 2000);
  expect(endOf("bob")).toBeNull();
});

describe("names and key ids that begin with -", () => {
  const password = "correct horse battery";
  const kid = `-${"x".repeat(42)}`;
  const names = ["-bob", "--bob", "-h1", "-", "--", "-9"];
  const add = (args: readonly string[]) =>
    latchkey(["users", "add", "--password-stdin", ...args], { input: password });

  /** The commands that take a name, in an order in which each one succeeds, with what else they need. */
  const ofNames: readonly (readonly [string, readonly string[]])[] = [
    ["users add", ["--password-stdin"]],
    ["users show", []],
    ["users set", ["--role", "-r"]],
    ["users disable", []],
    ["users enable", []],
    ["users passwd", ["--password-stdin"]],
    ["users revoke", []],
    ["users unlock", []],
    ["users remove", []],
  ];

  test("the table has every command that takes one", () => {
    const taking = commands.filter(([, command]) => operandsOf(command).includes("name"));
    expect(taking.map(([path]) => path).sort()).toEqual(ofNames.map(([path]) => path).sort());
  });

  test.each(names.filter((name) => name !== "--"))("%j works in every command", async (name) => {
    for (const [path, options] of ofNames) {
      for (const json of [[], ["--json"]]) {
        const words = path.split(" ");
        if (path === "users add" && json.length > 0) continue;
        if (path === "users remove" && json.length > 0) await add([name]);
        const before = await latchkey([...words, name, ...options, ...json], { input: password });
        expect([path, before.code, before.stderr]).toEqual([path, 0, ""]);
        expect(before.stdout).toContain(json.length > 0 ? JSON.stringify(name) : name);
      }
    }
  });

  test("the name may come last, or after --, whatever it is", async () => {
    for (const name of [...names, "--json", "--help"]) {
      expect(await add(["--role", "r", "--", name])).toMatchObject({ code: 0 });
      const { code, stdout } = await latchkey(["users", "show", "--json", "--", name]);
      expect([code, (JSON.parse(stdout) as { username: string }).username]).toEqual([0, name]);
    }
  });

  test("keys are imported and revoked", async () => {
    const file = join(folder, "public.pem");
    const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    writeFileSync(file, publicKey.export({ type: "spki", format: "pem" }));
    expect(await latchkey(["keys", "import", file, "--kid", kid])).toMatchObject({ code: 0 });
    expect(await latchkey(["keys", "revoke", kid])).toMatchObject({ code: 0 });
    expect((await latchkey(["keys", "list"])).stdout).toMatch(new RegExp(`^revoked +${kid}`, "m"));
    expect(await latchkey(["keys", "revoke", "-nobody"])).toMatchObject({
      code: 1,
      stderr: "error: there is no key -nobody\n",
    });
  });

  test.each([
    ["users passwd --password-stdn", "--password-stdn"],
    ["users passwd --password=hunter2", "--password'"],
    ["users add --rol admin --id 1", "--rol"],
    ["keys revoke --jsn", "--jsn"],
  ])("%s is a slip and no name", async (line, option) => {
    const { code, stderr } = await latchkey(line.split(" "));
    expect(code).toBe(2);
    expect(stderr).toContain(`unknown option '${option}`);
    expect(stderr).not.toContain("hunter2");
  });

  /** Lines such as `latchkey users passwd ann` of every document. */
  const documents = ["README.md", "docs/operations.md", "docs/migration.md"];
  const guided = documents.flatMap((file) =>
    [...readFileSync(file, "utf8").matchAll(/latchkey ((?:users|keys) [^#`\n|]*)/g)]
      .map(([, line = ""]) => line.trim())
      .filter((line) => /\bann\b|"\$KID"/.test(line)),
  );

  test("every command of the guides takes them", async () => {
    expect(guided.length).toBeGreaterThan(5);
    await latchkey(["users", "remove", "-ann"]);
    for (const line of guided) {
      const words = line
        .replace(/\bann\b/, "-ann")
        .replace('"$KID"', kid)
        .split(/\s+/);
      if (words[1] === "add") await latchkey(["users", "remove", "-ann"]);
      const stdin = ["add", "passwd"].includes(words[1] ?? "") ? ["--password-stdin"] : [];
      const { code, stderr } = await latchkey([...words, ...stdin], { input: password });
      expect([line, code, /^error.*/.exec(stderr)]).toEqual([line, 0, null]);
    }
  });
});
