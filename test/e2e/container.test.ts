/** The steps of the Dockerfile, one after the other in a folder of their own: what they make runs and is healthy. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { rootDir, run, setupTimeoutMs } from "../support/toolchain.js";

const instructions = readFileSync(join(rootDir, "Dockerfile"), "utf8")
  .split("\n")
  .filter((line) => /^[A-Z]/.test(line))
  .map((line) => /^(\w+) (.*)$/.exec(line)?.slice(1) as [string, string]);
const argumentsOf = (name: string) =>
  instructions.filter(([instruction]) => instruction === name).map(([, rest]) => rest);
const command = (name: string): string[] => {
  const [form = "[]"] = argumentsOf(name).slice(-1);
  return JSON.parse(form.slice(form.indexOf("["))) as string[];
};
/** What .dockerignore leaves of the checkout. */
const context = readFileSync(join(rootDir, ".dockerignore"), "utf8")
  .split("\n")
  .filter((line) => line.startsWith("!"))
  .map((line) => line.slice(1));

let image: string;
let workdir = "";
beforeAll(async () => {
  image = mkdtempSync(join(tmpdir(), "latchkey-image-"));
  for (const [instruction, rest] of instructions) {
    if (instruction === "WORKDIR") {
      workdir = join(image, rest);
      mkdirSync(workdir);
    } else if (instruction === "COPY") copy(rest);
    else if (instruction === "RUN") await run("sh", ["-c", rest], { cwd: workdir });
  }
}, setupTimeoutMs);
afterAll(() => rmSync(image, { recursive: true, force: true }));

function copy(rest: string): void {
  const isFromStage = rest.includes("--from=");
  const paths = rest.split(" ").filter((word) => !word.startsWith("--"));
  const target = paths.pop() ?? "";
  const to = target.startsWith("/") ? join(image, target) : join(workdir, target);
  for (const path of paths) {
    if (!isFromStage) expect(context).toContain(path);
    const from = isFromStage ? join(image, path) : join(rootDir, path);
    const isInto = target.endsWith("/") && statSync(from).isFile();
    cpSync(from, isInto ? join(to, basename(path)) : to, { recursive: true });
  }
}

/** With the image's variables, and its own Node.js and folders in place of the image's. */
function start(argv: readonly string[], env: Readonly<Record<string, string>>) {
  const variables = argumentsOf("ENV").flatMap((line) => line.split(" "));
  const set = variables.map((variable) => variable.split("=") as [string, string]);
  const [, ...rest] = argv;
  return spawn(process.execPath, rest, {
    cwd: workdir,
    env: { ...Object.fromEntries(set), DATA_DIR: join(image, "data"), ...env },
  });
}

test("it starts, is healthy while it runs and not once it has ended", async () => {
  const server = start([...command("ENTRYPOINT"), ...command("CMD")], {
    PORT: "0",
    MANAGEMENT_PORT: "0",
  });
  const started = new Promise<string>((resolve) => {
    createInterface(server.stdout).on("line", (line) => {
      const { event, managementUrl } = JSON.parse(line) as Record<string, string>;
      if (event === "started") resolve(managementUrl ?? "");
    });
  });
  const { port } = new URL(await started);
  const health = async () =>
    (await once(start(command("HEALTHCHECK"), { MANAGEMENT_PORT: port }), "exit")) as [number];
  expect(await health()).toEqual([0, null]);
  server.kill("SIGTERM");
  expect(await once(server, "exit")).toEqual([0, null]);
  expect(await health()).toEqual([1, null]);
});
