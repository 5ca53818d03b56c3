/**
 * The parts of the process that commands use, and how they write: lines, JSON and tables. Depends on the
 * configuration and node.
 */
import type { Readable, Writable } from "node:stream";
import type { Environment } from "../config/config.js";

export interface Terminal {
  readonly env: Environment;
  /** The release of Node.js, such as `24.18.1`. */
  readonly nodeVersion: string;
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  /**
   * After this call, SIGINT and SIGTERM abort the returned signal instead of ending the process; its reason
   * is the exit code. A second one ends the process.
   */
  interruption(): AbortSignal;
  /** After this call, SIGHUP calls the listener instead of ending the process. */
  onHangup(listener: () => void): void;
}

/** A command has failed: one sentence, a code for machines, an exit code. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly code: string;
  readonly exitCode: number;

  constructor(code: string, message: string, exitCode = 1) {
    super(message);
    this.code = code;
    this.exitCode = exitCode;
  }
}

/** The reader of our output has closed it, as `head` does. */
export class OutputClosed extends Error {
  override readonly name = "OutputClosed";
}

/** @throws OutputClosed; CliError `output_failed` */
export async function writeLine(stream: Writable, line: string): Promise<void> {
  const error = await new Promise<NodeJS.ErrnoException | null | undefined>((resolve) => {
    stream.write(`${line}\n`, resolve);
  });
  if (!error) return;
  if (error.code === "EPIPE" || error.code === "ERR_STREAM_DESTROYED") throw new OutputClosed();
  throw new CliError("output_failed", `cannot write the output: ${error.message}`);
}

/**
 * Escapes every character that a terminal would obey or hide: control characters, bidi overrides, line
 * separators. The escapes are JSON's, so JSON keeps its meaning.
 */
export function safe(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) =>
    Array.from(
      { length: character.length },
      (_, index) => `\\u${character.charCodeAt(index).toString(16).padStart(4, "0")}`,
    ).join(""),
  );
}

export const toJson = (value: unknown) => safe(JSON.stringify(value));

/** Writes a line to standard error; it does not matter if nobody reads it. */
export async function note(terminal: Terminal, line: string): Promise<void> {
  await writeLine(terminal.stderr, line).catch(() => undefined);
}

export function warn(terminal: Terminal, message: string, json = false): Promise<void> {
  return note(terminal, json ? toJson({ warning: { message } }) : `warning: ${safe(message)}`);
}

const tableSampleRows = 100;

/** Formats rows in columns as wide as the first 100 rows need, so that the rest can be streamed. */
export async function* formatTable(
  header: readonly string[],
  rows: AsyncIterable<readonly string[]> | Iterable<readonly string[]>,
): AsyncGenerator<string> {
  const sample: (readonly string[])[] = [header];
  let widths: number[] | undefined;
  const format = (row: readonly string[]) =>
    row
      .map((cell, column) => cell.padEnd(widths?.[column] ?? 0))
      .join("  ")
      .trimEnd();
  const settle = () => {
    widths = header.map((_, column) => Math.max(...sample.map((row) => row[column]?.length ?? 0)));
    return sample.map(format);
  };
  for await (const row of rows) {
    if (widths) yield format(row);
    else if (sample.push(row) > tableSampleRows) yield* settle();
  }
  if (!widths) yield* settle();
}
