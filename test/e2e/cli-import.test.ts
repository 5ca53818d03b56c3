import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { once } from "node:events";
import { createWriteStream, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  createCli,
  finished,
  hasPseudoTerminals,
  type Cli,
  type CliResult,
} from "../support/cli.js";
import { storeNames, useStores } from "../support/stores.js";

const argon2 =
  "$argon2id$v=19$m=16384,t=2,p=1$L7oXHhP3y+31BDhN5mKBiw$6Wy8/ERDszueWukMaxWecX5QSlC4J7eeqUNx+iis2TY";
const bcrypt = "$2b$05$u20VBwsot1oJi.pHspQ2FeLqF6KpWrbwgDdwRbmVtkUpNQ3hq7Oz6";

const stores = useStores();
let cli: Cli;
beforeEach(() => {
  cli = createCli();
});
afterEach(() => cli.remove());

interface Summary {
  readonly added: number;
  readonly replaced: number;
  readonly skipped: number;
  readonly rejected: number;
}

/** Imports the text with `--json` and reads what is told of it. */
async function importText(text: string, ...options: string[]) {
  const result = await cli.run(["users", "import", "-", "--json", ...options], { input: text });
  return { code: result.code, ...readResult(result) };
}

function readResult({ stdout, stderr }: CliResult) {
  const rejected = stderr
    .split("\n")
    .filter(Boolean)
    .map((line) => (JSON.parse(line) as { rejected: Rejection }).rejected);
  return { summary: JSON.parse(stdout) as Summary, rejected, stderr };
}

interface Rejection {
  readonly line: number;
  readonly field: string | null;
  readonly reason: string;
}

async function storedUsers(): Promise<Record<string, Record<string, unknown>>> {
  const { stdout } = await cli.run(["users", "list", "--json"]);
  const users = stdout
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as { username: string });
  return Object.fromEntries(users.map((user) => [user.username, user]));
}

const line = (user: object) => `${JSON.stringify(user)}\n`;
const numbered = (id: number, more: object = {}) =>
  line({ _id: id, username: `user${id}`, passwordHash: argon2, ...more });

describe("a file of 20,000 lines with faults in it", () => {
  const faults: Record<number, [text: string, field: string | null]> = {
    1: [numbered(1, { roles: "player" }), "roles"],
    500: ['{"_id":500,"username":"user500","pass\n', null],
    1000: [numbered(1000, { _id: undefined }), "_id"],
    1001: [numbered(1001, { username: "user3" }), "username"],
    7777: [numbered(7777, { _id: 3 }), "_id"],
    9999: [numbered(9999, { username: `x${"y".repeat(1_100_000)}` }), null],
    15_000: [numbered(2, { _id: 2, username: "user2" }), "_id"],
    20_000: ['{"_id":20000,"username":"user20000","disabled":"no"}', "disabled"],
  };

  /** A dry run makes no store, so there has to be one. */
  const makeStore = (env = {}) => cli.run(["users", "import", "-"], { input: "", env });

  test("names the faults, writes the rest; a dry run says the same and writes nothing", async () => {
    const file = join(cli.dir, "users.ndjson");
    const output = createWriteStream(file);
    for (let number = 1; number <= 20_000; number++) {
      output.write(faults[number]?.[0] ?? numbered(number, { email: "a@b" }));
    }
    await once(output.end(), "close");

    await makeStore();
    const dry = await cli.run(["users", "import", file, "--dry-run", "--json"]);
    expect(await storedUsers()).toEqual({});
    const real = await cli.run(["users", "import", file, "--json"]);
    const { summary, rejected } = readResult(real);
    expect(real.code).toBe(1);
    expect(rejected.map(({ line, field }) => [line, field])).toEqual(
      Object.entries(faults).map(([number, [, field]]) => [Number(number), field]),
    );
    expect(summary).toEqual({
      dryRun: false,
      interrupted: false,
      leftOver: 0,
      added: 19_992,
      replaced: 0,
      skipped: 0,
      rejected: 8,
      hashFamilies: { argon2id: 19_992 },
      withoutPassword: 0,
      passwordKept: 0,
      withColon: 0,
      ignoredFields: { email: 19_992 },
      notes: {},
    });
    expect(Object.keys(await storedUsers())).toHaveLength(19_992);
    expect(dry.code).toBe(1);
    expect(dry.stderr).toBe(real.stderr);
    expect(readResult(dry).summary).toEqual({ ...summary, dryRun: true });

    const again = await cli.run(["users", "import", file, "--json", "--on-conflict", "skip"]);
    expect(readResult(again).summary).toMatchObject({ added: 0, skipped: 19_993, rejected: 7 });

    const child = cli.start(["users", "list"]);
    child.stdout.once("data", () => child.stdout.destroy());
    const [code] = (await once(child, "exit")) as [number];
    expect(code).toBe(0);
    expect(child.stderr.read()).toBeNull();
  });

  test("meets its own names by USERNAME_MATCH, in a dry run too", async () => {
    const many = Array.from({ length: 1000 }, (_, id) => numbered(id)).join("");
    const input = many + line({ _id: 1000, username: "USER7" });
    const env = { USERNAME_MATCH: "ignore-case" };
    await makeStore(env);
    for (const more of [["--dry-run"], []]) {
      const args = ["users", "import", "-", "--json", ...more];
      const { rejected } = readResult(await cli.run(args, { input, env }));
      expect(rejected).toMatchObject([{ line: 1001, field: "username" }]);
    }
  });

  test("is summed up in sentences", async () => {
    const input =
      numbered(1) +
      numbered(2, { passwordHash: bcrypt, "e\u202e": 1 }) +
      line({ _id: 3, username: "a:b" }) +
      numbered(4, { passwordHash: "!unusable" }) +
      numbered(1);
    const { code, stdout, stderr } = await cli.run(["users", "import", "-"], { input });
    expect(code).toBe(1);
    expect(stderr).toBe("line 5: _id and username belong to a user already\n");
    expect(stdout.split("\n")).toEqual([
      "4 added, 0 replaced, 0 skipped, 1 rejected",
      "password hashes: argon2id 1, bcrypt 1",
      "without a password, so that they cannot log in: 2",
      "with a colon in the name, so that they cannot use HTTP Basic: 1",
      String.raw`fields ignored: e\u202e 1`,
      "",
    ]);
  });
});

describe("a line", () => {
  const uuid = "0190f0a0-0000-7000-8000-00000000000a";

  test.each([
    ["1", 1],
    ["-5", -5],
    ['"1"', "1"],
    ['{"$numberInt":"5"}', 5],
    ['{"$numberLong":"9007199254740993"}', { $numberLong: "9007199254740993" }],
    ['{"$oid":"65F0a0b0c0d0e0f001020304"}', { $oid: "65f0a0b0c0d0e0f001020304" }],
    [`{"$uuid":"${uuid.toUpperCase()}"}`, { $uuid: uuid }],
    ['{"$binary":{"base64":"AZDwoAAAcACAAAAAAAAACg==","subType":"04"}}', { $uuid: uuid }],
  ])("with the _id %s is stored with that", async (id, expected) => {
    expect((await importText(`{"_id":${id},"username":"bob"}`)).code).toBe(0);
    expect(await storedUsers()).toEqual({ bob: expect.objectContaining({ _id: expected }) });
  });

  const user = (fields: string) => `{"_id":1,"username":"bob",${fields}}`;
  const hash = (passwordHash: string) => line({ _id: 1, username: "bob", passwordHash });
  const secret = "c2VjcmV0c2VjcmV0";
  const faulty: [text: string, field: string | null][] = [
    ['{"_id":9007199254740993,"username":"bob"}', "_id"],
    ['{"_id":1.5,"username":"bob"}', "_id"],
    ['{"_id":null,"username":"bob"}', "_id"],
    ['{"_id":true,"username":"bob"}', "_id"],
    ['{"_id":[1],"username":"bob"}', "_id"],
    ['{"_id":{},"username":"bob"}', "_id"],
    ['{"_id":"","username":"bob"}', "_id"],
    ['{"_id":{"$oid":"65f0"},"username":"bob"}', "_id"],
    ['{"_id":{"$oid":null},"username":"bob"}', "_id"],
    ['{"_id":{"$numberInt":"2147483648"},"username":"bob"}', "_id"],
    ['{"_id":{"$numberLong":"01"},"username":"bob"}', "_id"],
    ['{"_id":{"$numberLong":9007199254740993},"username":"bob"}', "_id"],
    ['{"_id":{"$binary":{"base64":"AZDwoA==","subType":"04"}},"username":"bob"}', "_id"],
    [
      '{"_id":{"$binary":{"base64":"AZDwoAAAcACAAAAAAAAACg==","subType":"03"}},"username":"bob"}',
      "_id",
    ],
    ['{"_id":{"$binary":null},"username":"bob"}', "_id"],
    ['{"_id":{"toString":"1"},"username":"bob"}', "_id"],
    ['{"_id":{"$oid":"65f0a0b0c0d0e0f001020304","$uuid":""},"username":"bob"}', "_id"],
    ['{"_id":1}', "username"],
    ['{"_id":1,"username":7}', "username"],
    ['{"_id":1,"username":""}', "username"],
    [`{"_id":1,"username":"${"x".repeat(257)}"}`, "username"],
    [String.raw`{"_id":1,"username":"a\u0000b"}`, "username"],
    [String.raw`{"_id":1,"username":"a\u009bb"}`, "username"],
    [user('"disabled":null'), "disabled"],
    [user('"roles":[1]'), "roles"],
    [user('"roles":[""]'), "roles"],
    [user(`"roles":${JSON.stringify(Array(20).fill("x".repeat(200)))}`), "roles"],
    [user('"passwordHash":1'), "passwordHash"],
    [hash(""), "passwordHash"],
    [hash(secret), "passwordHash"],
    [hash(`$argon2id$v=19$m=4294967295,t=2,p=1$${secret}$${secret}${secret}`), "passwordHash"],
    [hash(`$2b$31$${secret}`), "passwordHash"],
    [hash(secret.repeat(1000)), "passwordHash"],
    [String.raw`{"_id":1,"username":"a\ud800"}`, null],
    [user(`"roles":[],"roles":["${secret}"]`), null],
    [user('"\\u0072oles":[],"roles":[]'), null],
    [`{"_id":1,"username":"bob","passwordHash":"${secret}`, null],
    ["[]", null],
    ["null", null],
    ["1", null],
    ["NaN", null],
    ["\u001e{}", null],
  ];

  test("that is faulty is named with its field, and nothing of its values is told", async () => {
    const text = faulty.map(([line]) => line.replace(/\n$/, "")).join("\n");
    const { code, summary, rejected, stderr } = await importText(text);
    expect(code).toBe(1);
    expect(rejected.map(({ line, field }) => [line, field])).toEqual(
      faulty.map(([, field], index) => [index + 1, field]),
    );
    expect(summary).toMatchObject({ added: 0, rejected: faulty.length });
    expect(stderr).not.toContain(secret.slice(0, 8));
    expect(rejected[faulty.findIndex(([text]) => text.includes("m=4294967295"))]?.reason).toMatch(
      /costs more .*argon2id/,
    );
  });

  test("in another encoding is rejected, not mended", async () => {
    const input = Buffer.from(
      '{"_id":1,"username":"b\u00f6b"}\n{"_id":2,"username":"bob"}',
      "latin1",
    );
    const child = cli.start(["users", "import", "-", "--json"]);
    child.stdin.end(input);
    const { rejected } = readResult(await finished(child));
    expect(rejected).toMatchObject([{ line: 1, field: null }]);
    expect(Object.keys(await storedUsers())).toEqual(["bob"]);
  });

  test("may be blank, end as on Windows, start the file with a byte order mark", async () => {
    const text = `\ufeff${numbered(1).trim()}\r\n\r\n \t\n${numbered(2).trim()}\r\n\ufeff${numbered(3)}`;
    const { rejected } = await importText(text);
    expect(rejected).toMatchObject([{ line: 5, field: null }]);
    expect(Object.keys(await storedUsers()).sort()).toEqual(["user1", "user2"]);
  });

  const onLinux = process.platform === "linux" ? test : test.skip;

  onLinux("that is endless is one rejected line, in memory that has a bound", async () => {
    const child = cli.start(["users", "import", "-", "--json"]);
    const result = finished(child);
    const mebibyte = "x".repeat(1_048_576);
    for (let sent = 0; sent < 300; sent++) {
      if (!child.stdin.write(mebibyte)) await once(child.stdin, "drain");
    }
    const status = readFileSync(`/proc/${child.pid ?? 0}/status`, "utf8");
    expect(Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1])).toBeLessThan(250 * 1024);
    child.stdin.end(`\n${numbered(2)}`);
    const { rejected, summary } = readResult(await result);
    expect(rejected).toMatchObject([{ line: 1, field: null }]);
    expect(summary).toMatchObject({ added: 1 });
  });

  test("keeps what it says of disabled and roles", async () => {
    await importText(numbered(1, { disabled: true, roles: ["a", "b"], passwordHash: null }));
    expect(await storedUsers()).toMatchObject({
      user1: { disabled: true, roles: ["a", "b"], hash: null, tokensValidAfter: null },
    });
  });
});

describe("a user who is stored already", () => {
  const changed = numbered(1, { passwordHash: bcrypt }) + numbered(2, { roles: ["new"] });
  const other = line({ _id: 1, username: "user2" }) + line({ _id: 9, username: "user1" });

  beforeEach(async () => {
    expect((await importText(numbered(1) + numbered(2))).code).toBe(0);
  });

  test("is a rejected line by default", async () => {
    const { code, rejected } = await importText(changed + other);
    expect(code).toBe(1);
    expect(rejected.map(({ field }) => field)).toEqual(["_id", "_id", "_id", "username"]);
    expect(await storedUsers()).toMatchObject({ user1: { hash: { family: "argon2id" } } });
  });

  test("is skipped with skip", async () => {
    const { code, summary } = await importText(changed, "--on-conflict", "skip");
    expect(code).toBe(0);
    expect(summary).toMatchObject({ added: 0, skipped: 2, rejected: 0 });
  });

  test("is replaced with replace, and a new hash ends older tokens", async () => {
    const { summary, rejected } = await importText(changed + other, "--on-conflict", "replace");
    const returnedAtSeconds = Math.floor(Date.now() / 1000);
    expect(summary).toMatchObject({ replaced: 2, rejected: 2 });
    expect(rejected.map(({ line }) => line)).toEqual([3, 4]);
    const { user1, user2 } = await storedUsers();
    expect(user1).toMatchObject({ hash: { family: "bcrypt" } });
    expect(user2).toMatchObject({ roles: ["new"], tokensValidAfter: null });
    const validAfterMs = Date.parse(user1?.["tokensValidAfter"] as string);
    expect(validAfterMs).toBeLessThan(returnedAtSeconds * 1000);
  });
});

describe("an import that does not run to its end", () => {
  const faultFirst = "faulty\n" + Array.from({ length: 1500 }, (_, id) => numbered(id)).join("");

  test.each(storeNames)("is taken up again after SIGKILL, %s", async (name) => {
    const env = await stores.newPlace(name);
    const all = Array.from({ length: 8000 }, (_, id) => numbered(id)).join("");
    const child = cli.start(["users", "import", "-"], env);
    child.stdin.on("error", () => undefined).write(faultFirst);
    await once(child.stderr, "data");
    child.stdin.write(all.slice(0, all.lastIndexOf("\n", all.length / 2) + 1));
    await sleep(100);
    child.kill("SIGKILL");
    await once(child, "exit");
    const args = ["users", "import", "-", "--json", "--on-conflict", "skip"];
    const { summary } = readResult(await cli.run(args, { env, input: all }));
    expect(summary.skipped).toBeGreaterThanOrEqual(999);
    expect(summary.added).toBeGreaterThan(0);
    expect(summary.added + summary.skipped).toBe(8000);
    const again = readResult(await cli.run(args, { env, input: all }));
    expect(again.summary).toMatchObject({ added: 0, skipped: 8000, rejected: 0 });
  });

  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("by %s stops after a batch, sums up and exits with %i", async (signal, expected) => {
    const child = cli.start(["users", "import", "-", "--json"]);
    const result = finished(child);
    child.stdin.on("error", () => undefined).write(faultFirst);
    // Told once the first batch is stored; the rest of it waits for more.
    await once(child.stderr, "data");
    child.kill(signal);
    const { code, ...told } = await result;
    expect(code).toBe(expected);
    const { summary } = readResult({ code, ...told });
    expect(summary).toMatchObject({ interrupted: true, added: 999, rejected: 1 });
    expect(Object.keys(await storedUsers())).toHaveLength(999);
  });

  test("for want of a reader has done its work all the same", async () => {
    const child = cli.start(["users", "import", "-"]);
    child.stdout.destroy();
    child.stderr.destroy();
    child.stdin.end(faultFirst);
    const [code] = (await once(child, "exit")) as [number];
    expect(code).toBe(1);
    expect(Object.keys(await storedUsers())).toHaveLength(1500);
  });

  test.each(["nowhere.ndjson", "."])("of the file %s says so", async (file) => {
    const { code, stderr } = await cli.run(["users", "import", join(cli.dir, file)]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: cannot read [^\n]+\n$/);
  });
});

const onTerminal = hasPseudoTerminals || process.env["CI"] === "true" ? test : test.skip;

onTerminal("a terminal is shown the progress", () => {
  const file = join(cli.dir, "users.ndjson");
  writeFileSync(file, numbered(1) + numbered(2));
  const { code, stdout } = cli.runOnTerminal(["users", "import", file], []);
  expect(code).toBe(0);
  expect(stdout).toContain("[##############################]100%  2 lines");
  expect(stdout).toMatch(/\r\u001b\[K2 added/);
});
