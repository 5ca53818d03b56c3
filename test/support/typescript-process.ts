/**
 * Runs one of our TypeScript files from source in a process of its own, as the tests do.
 */
import { spawn } from "node:child_process";
import type { ChildProcessByStdio } from "node:child_process";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import type { Readable } from "node:stream";
import { pathToFileURL } from "node:url";

const swc = pathToFileURL(createRequire(import.meta.url).resolve("@swc/core")).href;

const hooks = `
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import swc from "${swc}";
const options = { jsc: { target: "es2022", parser: { syntax: "typescript" } }, module: { type: "es6" } };
export const resolve = (specifier, context, next) =>
  next(context.parentURL?.endsWith(".ts") ? specifier.replace(/^(\\..*)\\.js$/, "$1.ts") : specifier, context);
export const load = (url, context, next) => url.endsWith(".ts")
  ? { format: "module", shortCircuit: true,
      source: swc.transformSync(readFileSync(fileURLToPath(url), "utf8"), options).code }
  : next(url, context);
`;

const dataUrl = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`;
const register = dataUrl(
  `import { register } from "node:module"; register(${JSON.stringify(dataUrl(hooks))});`,
);

export interface ProcessOptions {
  /** A shell command ending in `exec "$@"` that starts it. */
  readonly shell?: string;
}

/** Starts `file`, relative to `test/support`; its stdout can be read. */
export function startTypeScript(
  file: string,
  args: readonly string[],
  { shell = 'exec "$@"' }: ProcessOptions = {},
): ChildProcessByStdio<null, Readable, null> {
  const path = resolve(import.meta.dirname, file);
  const node = [process.execPath, "--no-warnings", "--import", register, path];
  return spawn("sh", ["-c", shell, "sh", ...node, ...args], {
    stdio: ["ignore", "pipe", process.env["DEBUG"] ? "inherit" : "ignore"],
  });
}
