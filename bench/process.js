/** Starts the measured processes and reads their CPU time and memory. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline";

export const main = resolve(import.meta.dirname, "../dist/src/main.js");
const { PATH } = process.env;

/** Runs a command of Latchkey to its end. @throws Error if it fails */
export function run(args, env, input = "") {
  const stdio = ["pipe", "ignore", "inherit"];
  execFileSync(process.execPath, [main, ...args], { env: { PATH, ...env }, input, stdio });
}

/** Starts `node args` on free ports, and resolves once it has printed its address. */
export async function start(args, env) {
  const child = spawn(process.execPath, args, {
    env: { PATH, PORT: "0", MANAGEMENT_PORT: "0", ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const { url, managementUrl } = await new Promise((started, failed) => {
    child.once("exit", (code) => failed(new Error(`${args.join(" ")} ended with ${code}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const entry = line.startsWith("{") ? JSON.parse(line) : {};
      if (entry.event === "started") started(entry);
    });
  });
  return {
    url,
    managementUrl,
    pid: child.pid,
    async stop() {
      child.kill("SIGTERM");
      await once(child, "exit");
    },
  };
}

/** A process and its children. */
function family(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").split(" ");
  return [pid, ...children.filter(Boolean).flatMap(family)];
}

/** User and system time of a process and its children, in microseconds; the kernel counts in 10 ms. */
export function cpuMicros(pid) {
  return family(pid)
    .map((id) => readFileSync(`/proc/${id}/stat`, "latin1").split(") ")[1].split(" "))
    .reduce((sum, fields) => sum + (Number(fields[11]) + Number(fields[12])) * 10_000, 0);
}

/** Resident memory of a process and its children, in MiB. */
export function residentMiB(pid) {
  return family(pid)
    .map((id) => /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${id}/status`, "latin1"))[1])
    .reduce((sum, kibibytes) => sum + kibibytes / 1024, 0);
}
