import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { createCli, finished, type Cli } from "../support/cli.js";

const password = "correct horse battery staple";

let cli: Cli;
beforeAll(() => {
  cli = createCli();
});
afterAll(() => cli.remove());

const json = (text: string) => JSON.parse(text) as Record<string, unknown>;
const add = (name: string, ...options: string[]) =>
  cli.run(["users", "add", "--password-stdin", ...options, "--", name], { input: password });
const show = async (name: string) => {
  const { stdout } = await cli.run(["users", "show", "--json", "--", name]);
  return json(stdout) as { _id: unknown; disabled: boolean; tokensValidAfter: string };
};
/** What the command says to people and to machines. */
const inBothForms = (args: string[], options?: { env: Record<string, string> }) =>
  Promise.all([cli.run(args, options), cli.run([...args, "--json"], options)]);
/** Whatever goes wrong is told in sentences, never with a stack. */
const sentence = /^error: [^\n]+\n$/;

describe("help", () => {
  test.each([
    "config",
    ...["add", "import", "list", "show", "disable", "enable", "passwd", "remove", "revoke"].map(
      (name) => `users ${name}`,
    ),
  ])("of %s has --json and an example that is this command", async (command) => {
    const { code, stdout } = await cli.run([...command.split(" "), "--help"]);
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: latchkey ${command}`);
    expect(stdout).toContain("--json");
    expect(stdout.slice(stdout.indexOf("Example:"))).toContain(`latchkey ${command}`);
  });

  test("of the whole names the commands and the exit codes", async () => {
    const { code, stdout } = await cli.run(["--help"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/users [^]*keys [^]*config /);
    expect(stdout).toContain("78");
  });

  test("shows the version of the package", async () => {
    const { version } = json(readFileSync("package.json", "utf8")) as { version: string };
    expect(await cli.run(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  });
});

describe("wrong usage", () => {
  test.each([
    ["bogus"],
    ["config", "extra"],
    ["users", "bogus"],
    ["users", "add"],
    ["users", "add", "bob", "--bogus"],
    ["users", "add", "bob", "--id-type", "number", "--id", "1"],
    ["users", "add", "bob", "--id-type", "int"],
    ["users", "add", "bob", "--id-type", "int", "--id", "007"],
    ["users", "add", "bob", "--id", "9223372036854775808"],
    ["users", "add", "bob", "--id-type", "uuid", "--id", "1"],
    ["users", "add", "bob", "--id", ""],
    ["users", "add", "bob", "--role", ""],
    ["users", "add", ""],
    ["users", "add", "a\tb"],
    ["users", "add", "x".repeat(257)],
    ["users", "add", "bob"],
    ["users", "passwd"],
    ["users", "import"],
    ["users", "import", "-", "--on-conflict", "merge"],
  ])("%j %j %j %j %j %j %j is told in one sentence, exit code 2", async (...args: string[]) => {
    const [{ code, stdout, stderr }, asJson] = await inBothForms(args);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(sentence);
    expect(asJson.code).toBe(2);
    expect(json(asJson.stderr)).toEqual({
      error: { code: expect.any(String), message: expect.any(String) },
    });
  });

  test("does not repeat a password that was given as an argument", async () => {
    for (const args of [
      ["--password", password],
      [`--password=${password}`],
      [`-p${password}`],
      [password],
    ]) {
      const { code, stderr } = await cli.run(["users", "add", "bob", ...args]);
      expect(code).toBe(2);
      expect(stderr).not.toContain("horse");
    }
  });

  test.each([[["users"]], [["keys"]]])("%j without a command shows the help", async (args) => {
    const { code, stderr } = await cli.run(args);
    expect(code).toBe(2);
    expect(stderr).toContain("Commands:");
  });
});

describe("config", () => {
  const env = { MONGODB_URI: "mongodb://root:hunter2@db/auth", PORT: "", TOKEN_ISSUR: "x" };

  test("prints every variable, secrets masked, and warns of what looks like one", async () => {
    const { code, stdout, stderr } = await cli.run(["config"], { env });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^PORT=8080$/m);
    expect(stdout).toMatch(/^TOKEN_AUDIENCE=$/m);
    expect(stdout).toMatch(/^MONGODB_URI=.*db\/auth$/m);
    expect(stdout).not.toContain("hunter2");
    expect(stderr).toMatch(/^warning: TOKEN_ISSUR .*TOKEN_ISSUER\?\n$/);
  });

  test("prints one object with --json", async () => {
    const { stdout, stderr } = await cli.run(["config", "--json"], { env });
    expect(json(stdout)).toMatchObject({ PORT: "8080", TOKEN_AUDIENCE: null });
    expect(json(stderr)).toHaveProperty("warning.message");
  });

  test("shows what is in effect of the hashes and of OpenTelemetry", async () => {
    const cores = availableParallelism();
    const tracing = {
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://ann:hunter2@collector:4318",
      OTEL_EXPORTER_OTLP_HEADERS: "api-key=hunter2",
    };
    const { stdout } = await cli.run(["config"], { env: tracing });
    const alone = cores === 1 ? "1" : `${cores} (${cores - 1} while tokens are renewed)`;
    expect(stdout).toContain(`\nHASH_CONCURRENCY=${alone}\n`);
    expect(stdout).toContain("\nOTEL_EXPORTER_OTLP_ENDPOINT=http://********@collector:4318\n");
    expect(stdout).toContain("\nOTEL_EXPORTER_OTLP_HEADERS=********\n");
    const workers = await cli.run(["config"], { env: { WORKERS: "2" } });
    expect(workers.stdout).toContain(`\nHASH_CONCURRENCY=${Math.max(1, cores - 1)}\n`);
  });

  test.each([["config"], ["users list"], ["users import /dev/null"]])(
    "%s names every fault, exit code 78",
    async (command) => {
      const faulty = { env: { PORT: "http", TOKEN_TTL: "soon" } };
      const [{ code, stdout, stderr }, asJson] = await inBothForms(command.split(" "), faulty);
      expect([code, stdout]).toEqual([78, ""]);
      expect(stderr).toMatch(/^error: .*\n {2}PORT .*\n {2}TOKEN_TTL .*\n$/);
      expect(asJson.code).toBe(78);
      expect(json(asJson.stderr)).toHaveProperty("error.code", "invalid_configuration");
    },
  );
});

describe("users", () => {
  test("are added, shown, listed, disabled, enabled and removed", async () => {
    const added = await add("TestUser", "--id", "1", "--role", "player", "--role", "admin");
    expect(added).toEqual({
      code: 0,
      stdout: "added TestUser with the _id 1 (int)\n",
      stderr: "",
    });
    expect(await show("TestUser")).toMatchObject({
      _id: 1,
      username: "TestUser",
      disabled: false,
      roles: ["player", "admin"],
      hash: { family: "argon2id", cost: { m: 19456, t: 2, p: 1 }, verdict: "ok" },
    });

    expect((await cli.run(["users", "disable", "TestUser"])).stdout).toBe("disabled TestUser\n");
    expect(await show("TestUser")).toHaveProperty("disabled", true);
    const table = (await cli.run(["users", "list"])).stdout;
    expect(table).toMatch(/^USERNAME +_ID +TYPE .*\nTestUser +1 +int +disabled +argon2id +player/);
    expect(table + (await cli.run(["users", "list", "--json"])).stdout).not.toContain("$argon2id");
    expect((await cli.run(["users", "enable", "TestUser", "--json"])).stdout).toBe(
      '{"_id":1,"username":"TestUser"}\n',
    );
    expect(await show("TestUser")).toHaveProperty("disabled", false);

    expect((await cli.run(["users", "remove", "TestUser"])).code).toBe(0);
    expect((await cli.run(["users", "show", "TestUser"])).code).toBe(1);
  });

  const ids: [string[], unknown][] = [
    [["--id", "7"], 7],
    [["--id", "9007199254740993"], { $numberLong: "9007199254740993" }],
    [["--id", "-7", "--id-type", "int"], -7],
    [["--id", "8", "--id-type", "string"], "8"],
    [["--id", "u-1"], "u-1"],
    [["--id", "65F0A0B0C0D0E0F001020304"], "65F0A0B0C0D0E0F001020304"],
    [
      ["--id", "65F0A0B0C0D0E0F001020304", "--id-type", "objectid"],
      { $oid: "65f0a0b0c0d0e0f001020304" },
    ],
    [
      ["--id", "0190F0A0-0000-7000-8000-00000000000A", "--id-type", "uuid"],
      { $uuid: "0190f0a0-0000-7000-8000-00000000000a" },
    ],
    [[], { $oid: expect.stringMatching(/^[0-9a-f]{24}$/) }],
  ];

  test("get the _id they are given, or a new one", async () => {
    // All at once: there is no order among processes.
    await Promise.all(
      ids.map(async ([options, _id]) => {
        const name = `id ${options.join(" ")}`;
        const { stdout } = await add(name, ...options, "--json");
        expect(json(stdout)).toEqual({ _id, username: name });
        expect(await show(name)).toMatchObject({ _id });
      }),
    );
  });

  test("of a taken name, _id or subject are refused", async () => {
    await add("first", "--id", "100");
    for (const [name, id, code] of [
      ["first", "101", "username_taken"],
      ["second", "100", "id_taken"],
    ] as const) {
      const { code: exitCode, stderr } = await add(name, "--id", id, "--json");
      expect([exitCode, json(stderr)]).toMatchObject([1, { error: { code } }]);
    }
    const sameSubject = await add("second", "--id", "100", "--id-type", "string");
    expect(sameSubject.code).toBe(1);
    expect(sameSubject.stderr).toMatch(sentence);
  });

  test("with a colon in the name are added with a warning", async () => {
    const { code, stderr } = await add("a:b");
    expect([code, stderr]).toEqual([0, expect.stringMatching(/^warning: .*colon.*\n$/)]);
  });

  test("cannot write to the terminal by their names", async () => {
    const name = "right\u202eleft\u2028\u{e0041}";
    const escaped = String.raw`right\u202eleft\u2028\udb40\udc41`;
    expect((await add(name)).stdout).toContain(escaped);
    for (const args of [["list"], ["list", "--json"], ["show", name]]) {
      const { stdout } = await cli.run(["users", ...args]);
      expect(stdout).toContain(escaped);
      expect(stdout).not.toContain("\u202e");
    }
    expect(await show(name)).toMatchObject({ username: name });
  });

  test.each(["show", "disable", "enable", "passwd", "remove", "revoke"])(
    "that do not exist: %s fails with exit code 1",
    async (command) => {
      const [{ code, stdout, stderr }, asJson] = await inBothForms(["users", command, "nobody"]);
      expect([code, stdout]).toEqual([1, ""]);
      expect(stderr).toMatch(sentence);
      expect(json(asJson.stderr)).toHaveProperty("error.code", "unknown_user");
    },
  );

  test.each(["add", "passwd", "revoke"])(
    "%s ends older tokens and returns once its second is over",
    async (command) => {
      const name = `tokens ${command}`;
      await add(name);
      const { tokensValidAfter: first } = await show(name);
      const passwordStdin = command === "passwd" ? ["--password-stdin"] : [];
      if (command !== "add") {
        const args = ["users", command, name, ...passwordStdin];
        expect((await cli.run(args, { input: password })).code).toBe(0);
      }
      const returnedAtSeconds = Math.floor(Date.now() / 1000);
      const { tokensValidAfter } = await show(name);
      if (command !== "add")
        expect(Date.parse(tokensValidAfter)).toBeGreaterThan(Date.parse(first));
      expect(Date.parse(tokensValidAfter)).toBeLessThan(returnedAtSeconds * 1000);
    },
  );
});

describe("a store that cannot be used", () => {
  test("embedded: its file is named, and left as it was", async () => {
    const dir = join(cli.dir, "corrupt");
    const file = join(dir, "latchkey.mdb");
    mkdirSync(dir);
    writeFileSync(file, "x".repeat(100_000));
    const { code, stderr } = await cli.run(["users", "list"], { env: { DATA_DIR: dir } });
    expect(code).toBe(1);
    expect(stderr).toMatch(sentence);
    expect(stderr).toContain(file);
    expect(readFileSync(file, "utf8")).toBe("x".repeat(100_000));
  });

  test("MongoDB: it is not an unknown user", async () => {
    const env = { MONGODB_URI: "mongodb://root:hunter2@127.0.0.1:1/auth" };
    const { code, stderr } = await cli.run(["users", "show", "bob", "--json"], { env });
    expect(code).toBe(1);
    expect(json(stderr)).toHaveProperty("error.code", "store_unavailable");
    expect(stderr).not.toContain("hunter2");
  });
});

test("an output that nobody reads any more is no failure, one that is full is", async () => {
  const child = cli.start(["config"]);
  child.stdout.destroy();
  const { code, stderr } = await finished(child);
  expect([code, stderr]).toEqual([0, ""]);

  const full = openSync("/dev/full", "w");
  const { code: exitCode, stderr: told } = await finished(cli.start(["config"], {}, full));
  closeSync(full);
  expect([exitCode, told]).toEqual([1, expect.stringMatching(sentence)]);
});
