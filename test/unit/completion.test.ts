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

test.each(["zsh", "fish"])("the script for %s is one, and has every command", async (shell) => {
  const script = await scriptOf(shell);
  for (const [path] of allCommands()) expect(script).toContain(`/${path.replace(" ", "/")}`);
  // From a file: fish refuses the socket that Node.js gives a child for its standard input.
  const folder = mkdtempSync(join(tmpdir(), "latchkey-completion-"));
  const file = join(folder, "script");
  writeFileSync(file, script);
  const { error, status, stderr } = spawnSync(shell, ["-n", file], { encoding: "utf8" });
  rmSync(folder, { recursive: true });
  if (error === undefined) expect([status, stderr]).toEqual([0, ""]);
});
