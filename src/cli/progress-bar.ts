/** A progress bar on the last line of a terminal. Depends on the terminal. */
import type { Terminal } from "./terminal.js";

export interface ProgressBar {
  /** Shows the progress, ten times a second at most; `share` is from 0 to 1, or undefined if unknown. */
  show(share: number | undefined, text: string): void;
  /** Removes the bar, so that a line can be written in its place. */
  clear(): void;
}

const barCharacters = 30;
const intervalMs = 100;

/** Creates a bar on standard error, which shows nothing if that is not a terminal. */
export function createProgressBar({ stderr }: Terminal, clock: { now(): number }): ProgressBar {
  let shownAtMs = -Infinity;
  return {
    show(share, text) {
      if (!stderr.isTTY || clock.now() - shownAtMs < intervalMs) return;
      shownAtMs = clock.now();
      const filled = Math.round(barCharacters * Math.min(share ?? 0, 1));
      const bar = "#".repeat(filled).padEnd(barCharacters, "-");
      const percent = `${Math.floor(100 * Math.min(share ?? 0, 1))}%`.padStart(4);
      const line = share === undefined ? text : `[${bar}]${percent}  ${text}`;
      stderr.write(`\r${line.slice(0, (stderr.columns || 80) - 1)}\u001b[K`);
    },
    clear() {
      if (stderr.isTTY && shownAtMs !== -Infinity) stderr.write("\r\u001b[K");
      shownAtMs = -Infinity;
    },
  };
}
