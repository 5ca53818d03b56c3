/**
 * Real verifiers take our tokens: from the discovery documents on where they read those, and for an issuer
 * that is no URL as docs/verifiers.md sets them up. `npm run measure:verifiers` uses the same programs.
 */
import { expect, test } from "@jest/globals";
import { describeWith, run, setupTimeoutMs } from "../support/toolchain.js";

const python = { python3: ["-c", "import ensurepip, venv"] };
/** What each needs, and how many libraries it has at least. */
const languages = [
  ["Node.js", python, 10],
  ["Python", python, 6],
  ["Go", { go: ["version"] }, 8],
  ["Java", { ...python, javac: ["--version"], mvn: ["--version"] }, 12],
] as const;

interface Checked {
  readonly library: string;
  /** What became of a stranger's token, after ours was taken. */
  readonly foreign?: string;
  readonly error?: string;
}

for (const [language, needed, count] of languages) {
  await describeWith(needed, `verifiers in ${language}`, () => {
    test(
      "take a token of ours and refuse a stranger's",
      async () => {
        const lines = await run("node", ["bench/verifiers/measure.js", "check", language]);
        const checked = lines
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line) as Checked);
        expect(checked.filter(({ error }) => error !== undefined)).toEqual([]);
        expect(checked.filter(({ foreign = "" }) => !foreign.startsWith("no "))).toEqual([]);
        expect(checked.length).toBeGreaterThanOrEqual(count);
      },
      setupTimeoutMs,
    );
  });
}
