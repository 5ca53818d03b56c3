/** What an operator should know of the release of Node.js that runs. Depends on nothing. */

/** Lines that get no security fixes any more, with the month of their last one. */
const endedLines: Readonly<Record<string, string>> = {
  20: "April 2026",
  21: "June 2024",
  23: "June 2025",
  25: "June 2026",
};

/**
 * The first release of each line that answers 431 to more header lines than it keeps. Older ones drop the
 * rest in silence: a client could hide the line that a proxy adds.
 */
const headerLinesKept: Readonly<Record<string, readonly [number, number]>> = {
  22: [23, 2],
  24: [18, 1],
  26: [5, 1],
};

/** One sentence each. @param version as `24.18.1` */
export function nodeWarnings(version: string): string[] {
  const [line = "", ...rest] = version.split(".");
  const [minor = 0, patch = 0] = rest.map(Number);
  const warnings: string[] = [];
  const ended = endedLines[line];
  if (ended !== undefined) {
    warnings.push(`Node.js ${version} gets no security fixes since ${ended}: use Node.js 24`);
  }
  const [fixedMinor, fixedPatch] = headerLinesKept[line] ?? [0, 0];
  if (minor < fixedMinor || (minor === fixedMinor && patch < fixedPatch)) {
    warnings.push(
      `Node.js ${version} drops header lines past its limit in silence: use ${line}.${fixedMinor}.${fixedPatch} or later`,
    );
  }
  return warnings;
}
