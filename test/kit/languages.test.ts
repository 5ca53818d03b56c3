/** The clients in other languages, held to the same table as the package's own. */
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { KitHarness } from "../support/kit-harness.js";
import { cacheDir, describeWith, rootDir, run, setupTimeoutMs } from "../support/toolchain.js";

let harness: KitHarness;
beforeAll(async () => {
  harness = await KitHarness.start();
});
afterAll(() => harness.stop());

interface Client {
  /** The commands that it needs, with the arguments that make each tell its version. */
  readonly needs: Readonly<Record<string, readonly string[]>>;
  /** A script that makes it and holds it to the table; run in its folder. */
  readonly script: string;
}

const clients: Readonly<Record<string, Client>> = {
  go: { needs: { go: ["version"] }, script: "go test -count=1 -v -run TestTable ." },
  java: {
    needs: { javac: ["--version"], mvn: ["--version"] },
    script: "mvn --quiet --batch-mode -Dstyle.color=never test-compile exec:java",
  },
  python: {
    needs: { python3: ["-c", "import ensurepip, venv"] },
    script: `venv="$CACHE/client-python"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet 'httpx>=0.28,<1' 'PyJWT[crypto]>=2.10,<3'
"$venv/bin/python" tests/cases.py`,
  },
};

for (const [name, { needs, script }] of Object.entries(clients)) {
  await describeWith(needs, `the client in ${name}`, () => {
    test(
      "keeps to the table",
      async () => {
        const output = await run("sh", ["-ec", script], {
          cwd: join(rootDir, "clients", name),
          env: {
            ...{ LATCHKEY_CONTROL: harness.controlUrl, CACHE: cacheDir },
            MAVEN_OPTS: `-Dmaven.repo.local=${join(cacheDir, "m2")}`,
          },
        });
        expect(output).toMatch(/\d{3,} passed, 0 failed/);
      },
      setupTimeoutMs,
    );
  });
}
