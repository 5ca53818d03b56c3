/** The simulation notices each of the breaks within its budget: `npm run simulate:breaks`. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "@jest/globals";
import config from "../../jest.config.js";
import { breaks, type Break } from "./breaks.js";

const root = fileURLToPath(new URL("../../", import.meta.url));

test.each(breaks)("the source can be broken: $name", ({ file, from, to }) => {
  expect(from).not.toBe(to);
  expect(readFileSync(join(root, file), "utf8").split(from)).toHaveLength(2);
});

interface Failure extends Error {
  readonly stdout: string;
  readonly stderr: string;
}

/** The law that a run of the simulation finds broken. */
async function findingOf({ file, from, to }: Break): Promise<string | undefined> {
  const [[files, [, options]]] = Object.entries(config.transform ?? {}) as [
    [string, [string, object]],
  ];
  const transform = {
    [files]: ["<rootDir>/test/simulation/breaking-transform.js", { file, from, to, options }],
  };
  const broken = JSON.stringify({ ...config, rootDir: root, transform });
  const args = ["--experimental-vm-modules", "--no-warnings", "node_modules/jest/bin/jest.js"];
  const run = promisify(execFile)(
    process.execPath,
    [...args, "--config", broken, "test/simulation/simulation.test.ts", "-t", "laws"],
    { cwd: root, env: { ...process.env, SHRINK: "off", SEED: "1" } },
  );
  const error = await run.then(
    () => undefined,
    (reason: unknown) => reason as Failure,
  );
  return error && /law broken: (.*)/.exec(error.stderr)?.[1];
}

const isAsked = process.env["BREAKS"] !== undefined;
(isAsked ? test.each : test.skip.each)(breaks)(
  "the simulation notices: $name",
  async (each) => {
    const startMs = performance.now();
    const finding = await findingOf(each);
    const seconds = Math.round((performance.now() - startMs) / 1000);
    process.stdout.write(`${each.name}: ${String(finding)} (${seconds} s)\n`);
    expect(finding).toMatch(each.law);
  },
  600_000,
);
