/**
 * Runs the shell blocks of a document one after the other in one shell, as an operator pastes them.
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { finished, type CliResult } from "./cli.js";
import { rootDir } from "./toolchain.js";

/** The `sh` blocks of the chapter with that title, or of the whole document. */
export function shellBlocks(file: string, chapter?: string): string[] {
  const text = readFileSync(new URL(file, `file://${rootDir}`), "utf8");
  const part =
    chapter === undefined
      ? text
      : (text.split(/\n(?=## )/).find((each) => each.startsWith(`## ${chapter}\n`)) ?? "");
  return [...part.matchAll(/```sh\n([^]*?)```/g)].map(([, block = ""]) => block);
}

/**
 * `latchkey serve` replaces the running server with a new one, which is ready at `$URL`; every
 * other command runs to its end.
 */
const prelude = `
set -euo pipefail
SERVER=
IS_OK='fetch(process.argv[1]).then(({ ok }) => process.exit(Number(!ok)))'
stop() { if [ -n "$SERVER" ]; then kill "$SERVER"; wait "$SERVER"; SERVER=; fi; }
trap '[ -z "$SERVER" ] || kill -KILL "$SERVER"' EXIT
latchkey() {
  if [ "$1" != serve ]; then "$NODE" "$MAIN" "$@"; return; fi
  stop
  : > server.log
  "$NODE" "$MAIN" serve >> server.log 2>&1 &
  SERVER=$!
  for attempt in $(seq 300); do
    URL=$(sed -n 's/.*"event":"started","url":"\\([^"]*\\)".*/\\1/p' server.log)
    MANAGEMENT_URL=$(sed -n 's/.*"managementUrl":"\\([^"]*\\)".*/\\1/p' server.log)
    if [ -n "$URL" ] && "$NODE" -e "$IS_OK" "$MANAGEMENT_URL/readyz"; then return; fi
    kill -0 "$SERVER" || { cat server.log >&2; exit 1; }
    sleep 0.1
  done
  exit 1
}
`;

export interface ShellOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Runs the script. `latchkey` is the build, ports are free ones, and the embedded store is in
 * `cwd`.
 */
export function runShell(script: readonly string[], options: ShellOptions): Promise<CliResult> {
  const { PATH = "" } = process.env;
  const env = {
    ...{ PATH, NODE: process.execPath, MAIN: `${rootDir}dist/src/main.js` },
    ...{ DATA_DIR: `${options.cwd}/data`, PORT: "0", MANAGEMENT_PORT: "0" },
    ...options.env,
  };
  const child = spawn("bash", ["--norc", "-c", [prelude, ...script, "stop"].join("\n")], {
    cwd: options.cwd,
    env,
  });
  return finished(child);
}
