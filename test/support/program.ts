/** Runs the command line within the test's process. */
import { PassThrough, Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import type { Clock } from "../../src/cli/command.js";
import { createProgram, run } from "../../src/cli/program.js";
import type { Terminal } from "../../src/cli/terminal.js";

export interface ProgramRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  readonly env?: object;
  readonly input?: string;
  readonly clock?: Clock;
}

export async function runProgram(
  argv: readonly string[],
  { env = {}, input = "", clock = { now: Date.now, sleep } }: ProgramOptions = {},
): Promise<ProgramRun> {
  const { terminal, output } = newTerminal(env, input);
  const code = await run(argv, terminal, clock);
  return { code, ...output() };
}

function newTerminal(env: object, input: string) {
  const stdout = new PassThrough({ encoding: "utf8" });
  const stderr = new PassThrough({ encoding: "utf8" });
  const terminal: Terminal = {
    ...{ env: { ...env }, nodeVersion: "24.18.1", stdout, stderr },
    stdin: Readable.from([Buffer.from(input)]),
    interruption: () => new AbortController().signal,
    onHangup: () => undefined,
  };
  const text = (stream: PassThrough) => String(stream.read() ?? "");
  return { terminal, output: () => ({ stdout: text(stdout), stderr: text(stderr) }) };
}

/** The commands that act, by their words, such as `users add`. */
export function allCommands(): [string, Command][] {
  const clock = { now: Date.now, sleep };
  return leavesOf(createProgram({ terminal: newTerminal({}, "").terminal, clock, exitCode: 0 }));
}

function leavesOf(command: Command, path: readonly string[] = []): [string, Command][] {
  if (command.commands.length === 0) return [[path.join(" "), command]];
  return command.commands.flatMap((each) => leavesOf(each, [...path, each.name()]));
}

/** A clock whose sleeps end at once. */
export function newQuickClock(): Clock {
  let nowMs = Date.now();
  return { now: () => nowMs, sleep: (milliseconds) => Promise.resolve((nowMs += milliseconds)) };
}
