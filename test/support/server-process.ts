/** The built service in a process of its own, as an operator runs it. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { runHere } from "./cli.js";

const main = fileURLToPath(new URL("../../dist/src/main.js", import.meta.url));

export interface ServerProcess {
  readonly url: string;
  readonly managementUrl: string;
  readonly child: ChildProcess;
  /** The log so far. */
  readonly lines: readonly Readonly<Record<string, unknown>>[];
  /** Resolves once `/readyz` says that it is ready. */
  ready(timeoutMs?: number): Promise<void>;
  /** Sends the signal. Resolves with the exit code, or null if the signal killed the process. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

function spawnLatchkey(args: readonly string[], env: Readonly<Record<string, string>>) {
  const { PATH = "" } = process.env;
  return spawn(process.execPath, [main, ...args], { env: { PATH, ...env } });
}

/** Resolves once the service reports that it serves. Rejects with its output if it ends before. */
export async function startServerProcess(
  env: Readonly<Record<string, string>>,
): Promise<ServerProcess> {
  const child = spawnLatchkey(["serve"], { PORT: "0", MANAGEMENT_PORT: "0", ...env });
  const lines: Record<string, unknown>[] = [];
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const started = new Promise<{ url: string; managementUrl: string }>((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const entry = JSON.parse(line) as Record<string, unknown>;
      lines.push(entry);
      if (entry["event"] === "started") resolve(entry as { url: string; managementUrl: string });
    });
    child.once("exit", (code) => reject(new Error(`ended with ${code}: ${errors}`)));
  });
  const { url, managementUrl } = await started;
  return {
    url,
    managementUrl,
    child,
    lines,
    async ready(timeoutMs) {
      const statusOf = async () => (await fetch(`${managementUrl}/readyz`)).status;
      await eventually(statusOf, (status) => status === 200, timeoutMs);
    },
    async stop(signal = "SIGTERM") {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
      const exited = once(child, "exit") as Promise<[number | null]>;
      child.kill(signal);
      return (await exited)[0];
    },
  };
}

/** Runs a command of the command line to its end in this process. */
export async function runCommand(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  stdin = "",
): Promise<{ exitCode: number | null; stdout: string; stderr: string }> {
  const { code, ...output } = await runHere(args, env, stdin);
  return { exitCode: code, ...output };
}

/** Calls until the answer is as wanted. Rejects after the time, with the last answer. */
export async function eventually<T>(
  call: () => Promise<T>,
  isWanted: (value: T) => boolean,
  timeoutMs = 60_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = await call();
    if (isWanted(value)) return value;
    if (Date.now() > deadline) throw new Error(`still ${JSON.stringify(value)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
