/** The clients of docs/clients.md, made and run as it says. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startService, type RunningService } from "../support/service.js";
import { cacheDir, describeWith, rootDir, run, setupTimeoutMs } from "../support/toolchain.js";

/** What each needs, with the arguments that make it tell its version or prove its worth. */
const clients = {
  TypeScript: {},
  Go: { go: ["version"] },
  Python: { python3: ["-c", "import ensurepip, venv"] },
  Java: { javac: ["--version"], mvn: ["--version"] },
} as const;

const guide = readFileSync(join(rootDir, "docs/clients.md"), "utf8");

let service: RunningService;
let stranger: RunningService;
beforeAll(async () => {
  [service, stranger] = await Promise.all([startService(), startService({}, [])]);
});
afterAll(() => Promise.all([service.close(), stranger.close()]));

function shell(lines: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  return run("sh", ["-ec", lines.join("\n")], {
    env: {
      LATCHKEY_URL: service.url,
      MAVEN_OPTS: `-Dmaven.repo.local=${join(cacheDir, "m2-examples")}`,
      ...env,
    },
  });
}

for (const [language, needed] of Object.entries(clients)) {
  await describeWith(needed, `the client in ${language}`, () => {
    const block = new RegExp(`^## ${language}\n[^#]*?\`\`\`sh\n([^]*?)\n\`\`\`$`, "m").exec(guide);
    const lines = block?.[1]?.split("\n") ?? [];

    test(
      "logs in, renews and verifies",
      async () => {
        const start = performance.now();
        expect(await shell(lines)).toContain("subject 1, until 20");
        const seconds = Math.round((performance.now() - start) / 1000);
        process.stderr.write(`the client in ${language} was made and run in ${seconds} s\n`);
      },
      setupTimeoutMs,
    );

    test("refuses the token by the key set of another server", async () => {
      const again = [lines[0] ?? "", lines.at(-1) ?? ""];
      const other = { LATCHKEY_JWKS_URL: `${stranger.url}/.well-known/jwks.json` };
      await expect(shell(again, other)).rejects.toThrow(/key|kid/i);
      expect(await shell(again)).toContain("subject 1, until 20");
    });
  });
}
