/** What the README begins with, run as it is printed, and the answers that it prints. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { createInterface } from "node:readline";
import { freePort } from "../support/mongo.js";
import { rootDir, run } from "../support/toolchain.js";

const readme = readFileSync(join(rootDir, "README.md"), "utf8");
/** A block of shell, and the answer that follows it. */
const calls = [...readme.matchAll(/```sh\n(curl[^]*?)```\n\n```json\n(.*)\n```/g)].map(
  ([, command = "", answer = ""]) => [command, answer] as const,
);

let demo: ChildProcess;
let port: number;
let printed = "";
beforeAll(async () => {
  port = await freePort();
  const { PATH = "" } = process.env;
  const env = { PATH, PORT: String(port) };
  demo = spawn(process.execPath, [join(rootDir, "dist/src/main.js"), "serve", "--demo"], { env });
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: demo.stdout as NodeJS.ReadableStream }).on("line", (line) => {
      printed += `${line}\n`;
      if (line.includes("jwks.json")) resolve();
    });
    demo.once("exit", () => reject(new Error("the demo has ended")));
  });
}, 60_000);
afterAll(async () => {
  const exited = once(demo, "exit");
  demo.kill();
  await exited;
});

/** With what differs from call to call by its form. */
const formOf = (answer: string) =>
  answer
    .replaceAll(/eyJ[\w.-]+…?/g, "<jwt>")
    .replaceAll(/[A-Z][a-z]+, \d\d \d{4} \d\d:\d\d:\d\d/g, "<token_exp>")
    .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g, "<time>");

test.each(calls)("%s", async (command, answer) => {
  expect(command).toContain("http://127.0.0.1:8080/");
  const script = command.replaceAll("127.0.0.1:8080", `127.0.0.1:${port}`);
  expect(formOf(await run("bash", ["-c", script]))).toBe(formOf(answer));
});

test("one call per REST path and one rpc come before everything else", () => {
  const urls = calls.map(([command]) => /8080(\/\S+)/.exec(command)?.[1]);
  expect(urls).toEqual([
    "/api/auth/token",
    "/api/v1/authentication/login",
    "/auth.v1.AuthService/Login",
  ]);
  expect(readme.indexOf("curl")).toBeLessThan(readme.indexOf("## Call it"));
});

test("the demo says first where its two pages are, and both are there", async () => {
  const [first = ""] = printed.split("\n");
  const [apiPage = "", statusPage = ""] = first.match(/http:\/\/127\.0\.0\.1:\d+/g) ?? [];
  expect(apiPage).toBe(`http://127.0.0.1:${port}`);
  const pages = await Promise.all(
    [apiPage, statusPage].map(async (url) => (await fetch(url)).text()),
  );
  expect(pages[0]).toContain("TestUser");
  expect(pages[1]).toContain("Signing keys");
});

test("its pictures are there, and small", () => {
  const pictures = [...readme.matchAll(/!\[[^\]]+\]\(([^)]+)\)/g)].map(([, file = ""]) => file);
  expect(pictures).toHaveLength(5);
  for (const file of pictures) {
    expect(readFileSync(join(rootDir, file)).length).toBeLessThan(250_000);
  }
});

test("its pictures are of this release or the one before", () => {
  const [{ version: made }, { version }] = ["docs/pictures/made.json", "package.json"].map(
    (file) => JSON.parse(readFileSync(join(rootDir, file), "utf8")) as { version: string },
  ) as [{ version: string }, { version: string }];
  const changelog = readFileSync(join(rootDir, "CHANGELOG.md"), "utf8");
  const releases = [...changelog.matchAll(/^## (\d\S*) - /gm)].map(([, release]) => release);
  const before = releases[releases.indexOf(version) + 1];
  expect([version, before]).toContain(made);
});
