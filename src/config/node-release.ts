/** Warnings about the running release of Node.js. Depends on nothing. */

/** Release lines that get no more security fixes, with the month of the last one. */
const endedLines: Readonly<Record<string, string>> = {
  20: "April 2026",
  21: "June 2024",
  23: "June 2025",
  25: "June 2026",
};

/**
 * The first release of each line that answers 431 when a request has more header lines than the limit. Older
 * releases silently drop the lines past it: a client could push out the line that a proxy adds.
 */
const headerLinesKept: Readonly<Record<string, readonly [number, number]>> = {
  22: [23, 2],
  24: [18, 1],
  26: [5, 1],
};

/** Returns one sentence for each warning. @param version such as `24.18.1` */
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
