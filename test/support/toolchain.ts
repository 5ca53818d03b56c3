/**
 * Tools of other ecosystems that tests need. If one is missing, its tests are skipped with a
 * message; if `CI` is set, they fail.
 */
import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, test } from "@jest/globals";

export const rootDir = fileURLToPath(new URL("../../", import.meta.url));
/** Ignored by git and kept from run to run. */
export const cacheDir = join(rootDir, ".cache");
/** Allows for downloads and compilers on a cold machine. */
export const setupTimeoutMs = 600_000;

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly timeoutMs?: number;
}

const execute = promisify(execFile);

/**
 * Resolves with the command's stdout.
 * @throws Error with its output if it fails or takes too long.
 */
export async function run(
  command: string,
  args: readonly string[],
  { cwd = rootDir, env, timeoutMs = setupTimeoutMs }: RunOptions = {},
): Promise<string> {
  const { stdout } = await execute(command, args, {
    cwd,
    env: { ...process.env, ...env },
    timeout: timeoutMs,
    maxBuffer: 64 * 1024 * 1024,
  }).catch((error: unknown) => {
    const { message, stdout, stderr } = error as Error & Record<"stdout" | "stderr", string>;
    throw new Error(`${message}\n${stdout}\n${stderr}`);
  });
  return stdout;
}

/**
 * `describe` for tests that need these commands. The arguments make each command print its version.
 */
export async function describeWith(
  commands: Readonly<Record<string, readonly string[]>>,
  name: string,
  body: () => void,
): Promise<void> {
  const missing: string[] = [];
  for (const [command, args] of Object.entries(commands)) {
    await run(command, args).catch(() => missing.push(command));
  }
  if (missing.length === 0) {
    describe(name, body);
    return;
  }
  const reason = `needs ${missing.join(" and ")} on the path`;
  if (process.env["CI"]) {
    test(name, () => {
      throw new Error(reason);
    });
  } else {
    process.stderr.write(`\n*** SKIPPED: ${name} ${reason} ***\n\n`);
    test.skip(`${name} ${reason}`, () => undefined);
  }
}

/** Builds a tool of test/tools/go.mod and returns its path. */
export async function goTool(name: string): Promise<string> {
  const binDir = join(cacheDir, "bin");
  mkdirSync(binDir, { recursive: true });
  const cwd = join(rootDir, "test/tools");
  const packages = (await run("go", ["list", "tool"], { cwd })).trim().split("\n");
  const tool = packages.find((path) => path.endsWith(`/${name}`));
  if (tool === undefined) throw new Error(`test/tools/go.mod names no ${name}`);
  await run("go", ["build", "-o", binDir, tool], { cwd });
  return join(binDir, name);
}

/** Runs a tool that npm installed. */
export function npmTool(name: string): string {
  return join(rootDir, "node_modules/.bin", name);
}
