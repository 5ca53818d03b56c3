/** What a shell offers after Tab, asked of the shell itself. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import { allCommands, runProgram } from "../support/program.js";

const scriptOf = async (shell: string) => (await runProgram(["completion", shell])).stdout;

/** What bash offers for each of the lines, whose last word is being written. */
function offers(script: string, ...lines: readonly (readonly string[])[]): string[][] {
  const asks = lines.map((words) => {
    const line = ["latchkey", ...words].map((word) => `'${word}'`).join(" ");
    return `COMP_WORDS=(${line}); COMP_CWORD=${words.length}; COMPREPLY=(); _latchkey; echo "\${COMPREPLY[*]}"`;
  });
  const input = [script, ...asks].join("\n");
  const { stdout, stderr } = spawnSync("bash", { input, encoding: "utf8" });
  expect(stderr).toBe("");
  return stdout
    .split("\n")
    .slice(0, -1)
    .map((line) => line.split(" ").filter(Boolean));
}

describe("bash", () => {
  test("offers every command after the words that lead to it, and its options after it", async () => {
    const script = await scriptOf("bash");
    const commands = allCommands();
    const paths = commands.map(([path]) => path.split(" "));
    expect(offers(script, ...paths)).toEqual(
      paths.map((words) => expect.arrayContaining(words.slice(-1))),
    );
    expect(offers(script, ...paths.map((words) => [...words, "-"]))).toEqual(
      commands.map(([, { options }]) => [...options.flatMap(({ long }) => long ?? []), "--help"]),
    );
  });

  test("offers the values of an option and of an argument, and nothing where a name is meant", async () => {
    const lines = [
      ["users", "import", "--on-conflict", ""],
      ["completion", "z"],
      ["users", "disable", "ann"],
      ["users", "s"],
    ];
    expect(offers(await scriptOf("bash"), ...lines)).toEqual([
      ["fail", "skip", "replace"],
      ["zsh"],
      [],
      ["show", "set"],
    ]);
  });
});

/** How a shell is asked what it offers after `users im` and after `--on-conflict`, without a terminal. */
const asked = {
  // zsh completes on a terminal alone: its own builtins are replaced by ones that print what they are given.
  zsh: (file: string) => `compdef() { : }; _files() { : }; compadd() { shift; print -r -- $@ }
source ${file}
ask() { words=(latchkey "$@"); CURRENT=$#words; _latchkey }
ask users ''; ask users import --on-conflict ''`,
  fish: (file: string) => `source ${file}
complete -C "latchkey users "; complete -C "latchkey users import --on-conflict "`,
} as const;

describe.each(["zsh", "fish"] as const)("%s", (shell) => {
  const isThere = spawnSync(shell, ["--version"]).status === 0;
  if (!isThere && process.env["CI"]) throw new Error(`the test of completion needs ${shell}`);
  if (!isThere) process.stderr.write(`\n*** SKIPPED: completion in ${shell} ***\n\n`);

  test("the script has every command", async () => {
    const script = await scriptOf(shell);
    for (const [path] of allCommands()) expect(script).toContain(`/${path.replace(" ", "/")}`);
  });

  (isThere ? test : test.skip)("offers commands and the values of an option", async () => {
    // From a file: fish refuses the socket that Node.js gives a child for its standard input.
    const folder = mkdtempSync(join(tmpdir(), "latchkey-completion-"));
    const file = join(folder, "script");
    writeFileSync(file, await scriptOf(shell));
    const env = { ...process.env, HOME: folder, XDG_CONFIG_HOME: folder, XDG_DATA_HOME: folder };
    const { status, stdout, stderr } = spawnSync(shell, ["-c", asked[shell](file)], {
      ...{ cwd: folder, env, encoding: "utf8" },
    });
    rmSync(folder, { recursive: true });
    expect([status, stderr]).toEqual([0, ""]);
    const words = stdout.split(/\s+/);
    expect(words).toEqual(expect.arrayContaining(["import", "export", "fail", "skip", "replace"]));
    expect(words).not.toContain("rotate");
  });
});
