/**
 * Reads a new password, checks it and hashes it. Depends on node:readline and the domain's password hashes.
 */
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { hashPassword } from "../../auth/passwords/passwords.js";
import { CliError, type Terminal } from "../terminal.js";
import { checkNewPassword, FieldFault } from "./fields.js";

/**
 * Reads a new password, one line of standard input or twice on the terminal without echo, and hashes it.
 * @param lengthMin in code points
 * @throws CliError
 */
export async function hashNewPassword(
  terminal: Terminal,
  username: string,
  fromStdin: boolean,
  lengthMin: number,
): Promise<string> {
  const password = await readNewPassword(terminal, fromStdin);
  try {
    checkNewPassword(password, lengthMin);
  } catch (error) {
    if (!(error instanceof FieldFault)) throw error;
    throw new CliError("password_refused", `the ${error.message}`);
  }
  // The list takes time and memory, so commands that set no password do without it.
  const { findGuess } = await import("./common-passwords.js");
  const guess = findGuess(password, username);
  if (guess) throw new CliError("password_refused", `the password ${guess}`);
  return hashPassword(password);
}

/** Longer than any acceptable password: a longer line is not read to its end. */
const passwordLineBytesMax = 4096;

function readNewPassword(terminal: Terminal, fromStdin: boolean): Promise<string> {
  if (fromStdin) return readPasswordLine(terminal.stdin);
  if (terminal.stdin.isTTY) return askNewPassword(terminal);
  throw new CliError(
    "no_terminal",
    "there is no terminal to ask for the password on; use --password-stdin",
    2,
  );
}

/** Reads one line of standard input. @throws CliError if it is not UTF-8 */
export async function readPasswordLine(stdin: Readable): Promise<string> {
  let bytes = Buffer.alloc(0);
  for await (const chunk of stdin as AsyncIterable<Buffer>) {
    bytes = Buffer.concat([bytes, chunk]);
    if (bytes.includes("\n") || bytes.length > passwordLineBytesMax) break;
  }
  const end = bytes.indexOf("\n");
  const line = end === -1 ? bytes : bytes.subarray(0, end);
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(line);
    return text.replace(/\r$/, "");
  } catch {
    throw new CliError("password_refused", "the password is not in UTF-8");
  }
}

async function askNewPassword({ stdin, stderr }: Terminal): Promise<string> {
  // Without an output, readline edits the line and echoes nothing.
  const input = createInterface({ input: stdin, terminal: true, historySize: 0 });
  const lines = input[Symbol.asyncIterator]();
  let cancelled = false;
  input.once("SIGINT", () => {
    cancelled = true;
    input.close();
  });
  const ask = async (label: string): Promise<string> => {
    stderr.write(label);
    const line = await lines.next();
    stderr.write("\n");
    if (cancelled) throw new CliError("interrupted", "interrupted", 130);
    if (line.done) throw new CliError("password_refused", "no password was given");
    return line.value;
  };
  try {
    const password = await ask("New password: ");
    if ((await ask("Again: ")) === password) return password;
    throw new CliError("password_refused", "the two passwords differ");
  } finally {
    input.close();
  }
}
