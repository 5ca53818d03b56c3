/** The packed package, as another service uses it: generated stubs, typed, and the command. */
import { execFile, execFileSync } from "node:child_process";
import {
  existsSync,
  readdirSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startService, type RunningService } from "../support/service.js";

const root = resolve(import.meta.dirname, "../..");
let folder: string;
let archiveName: string;
let installed: string;
let service: RunningService;

beforeAll(async () => {
  service = await startService();
  folder = mkdtempSync(join(tmpdir(), "latchkey-package-"));
  const pack = ["pack", "--ignore-scripts", "--json", "--pack-destination", folder];
  const [packed] = JSON.parse(execFileSync("npm", pack, { cwd: root, encoding: "utf8" })) as [
    { filename: string },
  ];
  archiveName = packed.filename;
  installed = join(folder, "node_modules/@latchkey-auth/latchkey");
  mkdirSync(installed, { recursive: true });
  const archive = join(folder, archiveName);
  execFileSync("tar", ["-xzf", archive, "-C", installed, "--strip-components=1"]);
  // The dependencies as npm would lay them out, without asking the registry again.
  for (const name of [
    "@bufbuild",
    "@connectrpc",
    "@node-rs",
    "commander",
    "lmdb",
    "prom-client",
    "pino",
    "jose",
  ]) {
    symlinkSync(join(root, "node_modules", name), join(folder, "node_modules", name));
  }
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  writeFileSync(
    join(folder, "client.ts"),
    `import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { AuthService, type LoginResponse } from "@latchkey-auth/latchkey/auth/v1";

const client = createClient(AuthService, createGrpcTransport({ baseUrl: process.argv[2]! }));
const response: LoginResponse = await client.login({ username: "TestUser", password: "password" });
console.log(response.accessToken.split(".").length, response.expireTime?.seconds !== undefined);
`,
  );
});

afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await service.close();
});

const markdownFiles = (path: string) =>
  readdirSync(path, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".md"));

const tsc = (...args: string[]) =>
  execFileSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), ...args], {
    cwd: folder,
    encoding: "utf8",
  });
const options = ["--strict", "--target", "es2022", "--module", "nodenext", "--types", "node"];
const typeRoots = ["--typeRoots", join(root, "node_modules/@types")];

test("another service imports the stubs, typed, and calls with them", async () => {
  tsc(...options, ...typeRoots, "client.ts");
  // Not synchronous: the service that answers it lives in this process.
  const args = [join(folder, "client.js"), service.url];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  expect(stdout).toBe("3 true\n");
});

test("a wrong use does not compile", () => {
  writeFileSync(
    join(folder, "wrong.ts"),
    `import type { LoginRequest } from "@latchkey-auth/latchkey/auth/v1";
export const username = (request: LoginRequest): number => request.username;
`,
  );
  expect(() => tsc(...options, ...typeRoots, "--noEmit", "wrong.ts")).toThrow();
});

test("the command runs", () => {
  const main = join(installed, "dist/src/main.js");
  const help = execFileSync(process.execPath, [main, "--help"], { encoding: "utf8" });
  expect(help).toContain("latchkey");
});

test("every link of its documents leads to a file of the package", () => {
  const documents = markdownFiles(installed);
  expect(documents).toContain("README.md");
  const dead = documents.flatMap((file) => {
    const text = readFileSync(join(installed, file), "utf8");
    return (
      [...text.matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)]
        .map(([, target = ""]) => target)
        // SECURITY.md names the tests, which are in the repository alone.
        .filter((target) => !/^(\.\.\/)?test\//.test(target))
        .filter((target) => !existsSync(join(installed, dirname(file), target)))
        .map((target) => `${file}: ${target}`)
    );
  });
  expect(dead).toEqual([]);
});

test("the guide installs the file that is packed", () => {
  const guide = readFileSync(join(installed, "docs/clients.md"), "utf8");
  expect(guide).toContain(`npm install ./${archiveName} `);
});

test("the kit for services: a token source, a verifier and a server for tests, typed", async () => {
  writeFileSync(
    join(folder, "kit.ts"),
    `import { createTokenSource } from "@latchkey-auth/latchkey/client";
import { createVerifier, TokenRefused } from "@latchkey-auth/latchkey/verify";
import { claimsKey } from "@latchkey-auth/latchkey/verify/connect";
import { startLatchkey } from "@latchkey-auth/latchkey/testing";

const ann = { username: "ann", password: "correct horse battery", roles: ["admin"] };
const latchkey = await startLatchkey({ users: [ann] });
const source = createTokenSource({ baseUrl: latchkey.url, credentials: ann });
const { issuer, jwksUrl, revocationsUrl } = latchkey;
const verifier = createVerifier({ issuer, jwksUrl, revocationsUrl });
const { sub, roles } = await verifier.verify(await source.token());
const refusal = await verifier.verify(await latchkey.tokens.expired()).catch((error) => error);
console.log(sub, roles.join(), (refusal as TokenRefused).code, typeof claimsKey.id);
await source.close();
await latchkey.stop();
`,
  );
  tsc(...options, ...typeRoots, "kit.ts");
  const { stdout } = await promisify(execFile)(process.execPath, [join(folder, "kit.js")]);
  expect(stdout).toBe("1 admin expired symbol\n");
});
