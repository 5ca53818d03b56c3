/**
 * Runs the command line on a store of its own: from source in this process, or built and in a
 * process of its own.
 */
import { spawn, spawnSync, type ChildProcessWithoutNullStreams } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { Environment } from "../../src/config/config.js";
import { run } from "../../src/cli/program.js";

const main = new URL("../../dist/src/main.js", import.meta.url).pathname;

export interface CliResult {
  /** Null if a signal ended the process. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Cli {
  /** A temporary folder, which has the embedded store too. */
  readonly dir: string;
  run(args: readonly string[], options?: { input?: string; env?: Environment }): Promise<CliResult>;
  /** Starts a process, for tests that talk to it while it runs; `stdout` is a file descriptor. */
  start(args: readonly string[], env?: object, stdout?: number): ChildProcessWithoutNullStreams;
  /** Runs on a pseudo-terminal and answers each prompt once it has appeared. */
  runOnTerminal(args: readonly string[], answers: readonly Answer[], env?: object): CliResult;
  /** Removes the folder and ends what still runs. */
  remove(): void;
}

interface Answer {
  readonly prompt: string;
  readonly keys: string;
}

export function createCli(): Cli {
  if (!existsSync(main)) throw new Error("not built yet: npm run build");
  const dir = mkdtempSync(join(tmpdir(), "latchkey-cli-"));
  const environment = { PATH: process.env["PATH"], DATA_DIR: join(dir, "data") };
  const children: ChildProcessWithoutNullStreams[] = [];
  const start: Cli["start"] = (args, env, stdout) => {
    const child = spawn(process.execPath, [main, ...args], {
      env: { ...environment, ...env },
      stdio: ["pipe", stdout ?? "pipe", "pipe"],
    }) as ChildProcessWithoutNullStreams;
    children.push(child);
    return child;
  };
  return {
    dir,
    start,
    run: (args, { input = "", env } = {}) => runHere(args, { ...environment, ...env }, input),
    runOnTerminal(args, answers, env) {
      const argv = [process.execPath, main, ...args];
      const spec = { argv, env: { ...environment, ...env }, answers };
      const python = spawnSync("python3", ["-c", onTerminal, JSON.stringify(spec)], {
        encoding: "utf8",
      });
      if (python.status !== 0) throw new Error(python.stderr);
      const { code, output } = JSON.parse(python.stdout) as { code: number; output: string };
      return { code, stdout: output, stderr: "" };
    },
    remove() {
      // Children are left only by a test that failed.
      for (const child of children) child.kill("SIGKILL");
      rmSync(dir, { recursive: true });
    },
  };
}

let last: Promise<unknown> = Promise.resolve();

/** Runs the program in this process. What `main.ts` adds is tested with `start`. */
export function runHere(
  args: readonly string[],
  env: Environment,
  input: string,
): Promise<CliResult> {
  // One at a time: lmdb hangs when one process opens a file twice and writes.
  const result = last.then(() => runNow(args, env, input));
  last = result;
  return result;
}

async function runNow(
  args: readonly string[],
  env: Environment,
  input: string,
): Promise<CliResult> {
  const output = { stdout: "", stderr: "" };
  const into = (name: keyof typeof output) =>
    new Writable({
      write(chunk: Buffer, _, done) {
        output[name] += chunk.toString();
        done();
      },
    });
  const code = await run(
    args,
    {
      env,
      nodeVersion: process.versions.node,
      stdin: Readable.from(input === "" ? [] : [Buffer.from(input)]),
      stdout: into("stdout"),
      stderr: into("stderr"),
      interruption: () => new AbortController().signal,
      onHangup: () => undefined,
    },
    { now: Date.now, sleep },
  );
  return { code, ...output };
}

export function finished(child: ChildProcessWithoutNullStreams): Promise<CliResult> {
  let [stdout, stderr] = ["", ""];
  const { stdout: output } = child as { stdout: Readable | null };
  output?.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, stdout, stderr })));
}

export const hasPseudoTerminals = spawnSync("python3", ["-c", "import pty"]).status === 0;

const onTerminal = `
import json, os, pty, signal, sys
spec = json.loads(sys.argv[1])
pid, terminal = pty.fork()
if pid == 0:
    os.execve(spec["argv"][0], spec["argv"], spec["env"])
signal.alarm(20)
output = b""
def read():
    global output
    try:
        data = os.read(terminal, 65536)
    except OSError:
        data = b""
    output += data
    return data
seen = 0
for answer in spec["answers"]:
    while answer["prompt"].encode() not in output[seen:]:
        if not read():
            sys.exit("no prompt in " + repr(output))
    seen = len(output)
    os.write(terminal, answer["keys"].encode())
while read():
    pass
status = os.waitpid(pid, 0)[1]
print(json.dumps({"code": os.waitstatus_to_exitcode(status), "output": output.decode()}))
`;
