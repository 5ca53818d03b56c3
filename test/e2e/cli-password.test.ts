import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { join } from "node:path";
import { verifyPassword } from "../../src/auth/passwords/passwords.js";
import { openEmbeddedStore } from "../../src/store/embedded/embedded-store.js";
import { createCli, hasPseudoTerminals, type Cli } from "../support/cli.js";

const fifteen = "äöüäöüßäöüäöüßé";
const longest = `${"x".repeat(1023)}y`;

let cli: Cli;
beforeAll(async () => {
  cli = createCli();
  await cli.run(["users", "add", "bob", "--password-stdin"], { input: "the very first one" });
});
afterAll(() => cli.remove());

async function isPasswordOf(username: string, password: string): Promise<boolean> {
  const store = await openEmbeddedStore({ dataDir: join(cli.dir, "data") });
  try {
    return await verifyPassword(
      (await store.users.findByUsername(username))?.passwordHash,
      password,
    );
  } finally {
    await store.close();
  }
}

describe("a password from standard input", () => {
  const passwd = (input: string, env = {}) =>
    cli.run(["users", "passwd", "bob", "--password-stdin"], { input, env });

  test.each([
    ["without a newline", "long enough to pass", "long enough to pass"],
    ["with one", "long enough, with LF\n", "long enough, with LF"],
    ["of Windows", "long enough, with CRLF\r\n", "long enough, with CRLF"],
    ["with two", "long enough, with two\n\n", "long enough, with two"],
    ["with blanks around it", "  blanks are kept  \n", "  blanks are kept  "],
    ["of 15 characters, not bytes", fifteen, fifteen],
    ["of 1,024 bytes", longest, longest],
  ])("%s is set", async (_, input, password) => {
    expect((await passwd(input)).code).toBe(0);
    expect(await isPasswordOf("bob", password)).toBe(true);
  });

  test.each([
    ["empty", ""],
    ["short in characters", "\u{1f511}".repeat(14)],
    ["long in bytes", "ü".repeat(513)],
    ["endless", "x".repeat(1_000_000)],
    ["with a NUL", "long enough\0 but for this"],
  ])("that is %s is refused, and the old one kept", async (_, input) => {
    const { code, stdout, stderr } = await passwd(input);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/^error: the password [^\n]+\n$/);
    expect(await isPasswordOf("bob", longest)).toBe(true);
  });

  // NIST SP 800-63B-4, section 3.1.1.2
  test.each([
    ["common", "passwordpassword", "is one of the most common ones"],
    ["common in other letter case", "1QAZ2wsx3edc4rfv", "is one of the most common ones"],
    [
      "a common one repeated",
      "LetMeIn!letmein!LETMEIN!".replaceAll("!", ""),
      "is one of the most common ones",
    ],
    ["the username repeated", "bobBOBbobBOBbob", "is the username"],
    ["a short text repeated", "x7!x7!x7!x7!x7!x7!", "is a short text repeated"],
    ["one character", "ü".repeat(15), "is a short text repeated"],
  ])("that is %s is refused", async (_, input, reason) => {
    const { code, stderr } = await passwd(input);
    expect([code, stderr]).toEqual([1, `error: the password ${reason}\n`]);
  });

  test("may be as short as PASSWORD_MIN_LENGTH", async () => {
    const env = { PASSWORD_MIN_LENGTH: "4" };
    expect((await passwd("f0ü", env)).code).toBe(1);
    expect((await passwd("f0ür", env)).code).toBe(0);
  });

  test("is read up to the newline, however long the pipe stays open", async () => {
    const child = cli.start(["users", "passwd", "bob", "--password-stdin"]);
    child.stdin.on("error", () => undefined).write("the pipe stays open\n");
    expect(await new Promise((resolve) => child.on("exit", resolve))).toBe(0);
    child.stdin.destroy();
  });
});

// Without python3 there is no pseudo-terminal to be had; where it matters that is a failure.
const onTerminal = hasPseudoTerminals || process.env["CI"] === "true" ? describe : describe.skip;

onTerminal("a password from the terminal", () => {
  const first = "New password: ";
  const again = "Again: ";

  test("is asked twice, edited, and not echoed", () => {
    const { code, stdout } = cli.runOnTerminal(
      ["users", "add", "alice"],
      [
        { prompt: first, keys: "typed on a terminalX\x7f, ünlike that\r" },
        { prompt: again, keys: "typed on a terminal, ünlike that\r" },
      ],
    );
    expect(code).toBe(0);
    expect(stdout).not.toMatch(/typed|terminal/);
    expect(stdout).toContain("added alice");
    return expect(isPasswordOf("alice", "typed on a terminal, ünlike that")).resolves.toBe(true);
  });

  test("may be pasted with its newline, twice at once", () => {
    const keys = "pasted in one go, twice\r".repeat(2);
    const { code } = cli.runOnTerminal(["users", "passwd", "bob"], [{ prompt: first, keys }]);
    expect(code).toBe(0);
    return expect(isPasswordOf("bob", "pasted in one go, twice")).resolves.toBe(true);
  });

  test.each([
    ["differs the second time", "another one, differently\r", 1],
    ["is given up with Ctrl-C", "\x03", 130],
    ["ends with Ctrl-D", "\x04", 1],
  ])("that %s changes nothing", (_, keys, expected) => {
    const { code, stdout } = cli.runOnTerminal(
      ["users", "add", "carol"],
      [
        { prompt: first, keys: "one that is long enough\r" },
        { prompt: again, keys },
      ],
    );
    expect(code).toBe(expected);
    expect(stdout).not.toMatch(/long enough|differently/);
    return expect(isPasswordOf("carol", "one that is long enough")).resolves.toBe(false);
  });
});
