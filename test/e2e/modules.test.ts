/** The modules that a server loads: none of a part that is off. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import { basic } from "../support/http.js";
import { startServerProcess } from "../support/server-process.js";

interface Coverage {
  readonly result: readonly { readonly url: string }[];
}

/** Runs a server that everybody asks for something, and returns its modules, sorted. */
async function modulesOf(env: Readonly<Record<string, string>>): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), "latchkey-modules-"));
  const coverage = join(folder, "coverage");
  const server = await startServerProcess({
    ...{ DATA_DIR: join(folder, "data"), NODE_V8_COVERAGE: coverage },
    ...env,
  });
  await server.ready();
  const { url, managementUrl } = server;
  await fetch(url);
  await fetch(`${managementUrl}/metrics`);
  const headers = { authorization: basic("nobody", "password") };
  await fetch(`${url}/api/auth/token`, { method: "POST", headers });
  if (env["API_PAGE"] === "on") await fetch(managementUrl);
  await server.stop();
  const reports = readdirSync(coverage).map(
    (name) => JSON.parse(readFileSync(join(coverage, name), "utf8")) as Coverage,
  );
  rmSync(folder, { recursive: true });
  const urls = new Set(reports.flatMap(({ result }) => result.map(({ url }) => url)));
  return [...urls]
    .flatMap((url) => /\/(?:dist\/src|node_modules)\/(.+)/.exec(url)?.[1] ?? [])
    .sort();
}

const optional = /^(pages|takeover|kit)\/|^(yaml|undici|cockatiel)\/|^@zxcvbn-ts\//;

test("pages, take-over, kit and the list of common passwords are not loaded while they are off", async () => {
  const modules = await modulesOf({});
  expect(modules).toContain("gateway/home-route.js");
  // The port of the store: two numbers.
  expect(modules.filter((path) => optional.test(path))).toEqual(["takeover/store.js"]);
});

test("they are loaded when they are on", async () => {
  const modules = await modulesOf({ API_PAGE: "on", UPSTREAM_URL: "http://127.0.0.1:9" });
  for (const path of ["pages/api-page.js", "pages/status-page.js", "takeover/takeover.js"]) {
    expect(modules).toContain(path);
  }
});
