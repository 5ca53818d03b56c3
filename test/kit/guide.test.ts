/** The examples of docs/kit.md and the first use of docs/clients.md, type-checked and run as they are printed. */
import { execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { freePort } from "../support/mongo.js";
import { eventually } from "../support/server-process.js";
import { startService, type RunningService } from "../support/service.js";
import { rootDir } from "../support/toolchain.js";

const guide = readFileSync(join(rootDir, "docs/kit.md"), "utf8");
const [client = "", verify = "", testing = ""] = [...guide.matchAll(/```ts\n([^]*?)```/g)].map(
  ([, block]) => block,
);
const first = /```ts\n([^]*?)```/.exec(readFileSync(join(rootDir, "docs/clients.md"), "utf8"))?.[1];
const examples = { client, verify, testing, first: first ?? "" };
const folder = mkdtempSync(join(tmpdir(), "latchkey-guide-"));
let service: RunningService;

beforeAll(async () => {
  mkdirSync(join(folder, "node_modules/@latchkey-auth"), { recursive: true });
  symlinkSync(rootDir, join(folder, "node_modules/@latchkey-auth/latchkey"));
  for (const [name, block] of Object.entries(examples)) {
    writeFileSync(join(folder, `${name}.mts`), block);
  }
  service = await startService();
  const tsc = join(rootDir, "node_modules/typescript/bin/tsc");
  const options = ["--strict", "--target", "es2022", "--module", "nodenext", "--types", "node"];
  const typeRoots = ["--typeRoots", join(rootDir, "node_modules/@types")];
  const files = Object.keys(examples).map((name) => join(folder, `${name}.mts`));
  await promisify(execFile)(process.execPath, [tsc, ...options, ...typeRoots, ...files], {
    cwd: folder,
  });
});
afterAll(async () => {
  await service.close();
  rmSync(folder, { recursive: true, force: true });
});

const run = async (name: string, env: Record<string, string>) =>
  (await promisify(execFile)(process.execPath, [join(folder, `${name}.mjs`)], { env })).stdout;

test("a client and a service that demands its token", async () => {
  const env = { LATCHKEY_URL: service.url };
  const port = await freePort();
  const args = [join(folder, "verify.mjs")];
  const server = spawn(process.execPath, args, {
    env: { ...env, PORT: String(port) },
    stdio: "inherit",
  });
  const url = `http://127.0.0.1:${port}/`;
  try {
    const status = () =>
      fetch(url).then(
        ({ status }) => status,
        () => undefined,
      );
    await eventually(status, (code) => code === 401);
    expect(await run("client", { ...env, ORDERS_URL: url })).toBe("200 hello 1\n");
  } finally {
    server.kill();
  }
});

test("a service's own test", async () => {
  expect(await run("testing", {})).toBe("[ 'admin' ]\nexpired\n");
});

test("the first use, in under ten lines", async () => {
  expect(examples.first.trim().split("\n").length).toBeLessThan(10);
  expect(await run("first", { LATCHKEY_URL: service.url })).toBe("hello 1\n");
});
