/**
 * Two things that commander cannot do: operands that begin with `-`, such as key ids, and an error for unknown
 * commands if there is a default command. Depends on commander.
 */
import type { Command, Option } from "commander";
import { isNear } from "../config/slips.js";
import { CliError } from "./terminal.js";

/**
 * Rewrites the arguments for commander. If a command lacks an operand, a word that begins with `-` and is not an
 * option is taken for it, and put after `--`.
 * @throws CliError if the command does not exist
 */
export function prepareArguments(program: Command, argv: readonly string[]): string[] {
  const { command, path, rest } = findCommand(program, argv);
  const required = command.registeredArguments.filter((argument) => argument.required).length;
  const parted = partArguments(command.options, rest);
  const missing = required - parted.operands.length;
  if (missing <= 0) return [...argv];
  const taken = parted.unknown.filter(({ text }) => !isSlip(command.options, text));
  const added = taken.slice(0, missing);
  if (added.length === 0) return [...argv];
  const operands = [...parted.operands, ...added].sort((a, b) => a.position - b.position);
  const others = rest
    .slice(0, parted.end)
    .filter((_, position) => !operands.some((operand) => operand.position === position));
  return [...path, ...others, "--", ...operands.map(({ text }) => text)];
}

interface Found {
  readonly command: Command;
  /** The words that name the command. */
  readonly path: readonly string[];
  /** The words after them. */
  readonly rest: readonly string[];
}

function findCommand(program: Command, argv: readonly string[]): Found {
  let command = program;
  let depth = 0;
  while (command.commands.length > 0) {
    const word = argv[depth];
    if (word === undefined || word.startsWith("-") || word === "help") break;
    const next = command.commands.find((each) => each.name() === word);
    if (next === undefined) throw unknownCommand(command, word);
    command = next;
    depth++;
  }
  return { command, path: argv.slice(0, depth), rest: argv.slice(depth) };
}

function unknownCommand(parent: Command, word: string): CliError {
  const names = parent.commands.map((each) => each.name());
  const near = [1, 2].map((edits) => names.find((name) => isNear(word, name, edits)));
  const meant = near.find((name) => name !== undefined);
  const hint = meant === undefined ? `see ${pathOf(parent)} --help` : `did you mean ${meant}?`;
  return new CliError("usage", `unknown command ${JSON.stringify(word)}; ${hint}`, 2);
}

const pathOf = (command: Command): string =>
  command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();

interface Placed {
  readonly text: string;
  readonly position: number;
}

/** Separates operands from unknown options. `end` is the position of `--`, or the number of words. */
function partArguments(options: readonly Option[], words: readonly string[]) {
  const operands: Placed[] = [];
  const unknown: Placed[] = [];
  let end = words.length;
  for (let position = 0; position < words.length; position++) {
    const text = words[position] ?? "";
    if (text === "--") {
      end = position;
      const rest = words.slice(position + 1);
      operands.push(...rest.map((each, i) => ({ text: each, position: position + 1 + i })));
      break;
    }
    const option = optionOf(options, text);
    if (option) position += option.required && !text.includes("=") ? 1 : 0;
    else (/^-./.test(text) ? unknown : operands).push({ text, position });
  }
  return { operands, unknown, end };
}

/** The option that the word names, help included. */
function optionOf(options: readonly Option[], word: string): { required: boolean } | undefined {
  if (word === "-h" || word === "--help") return { required: false };
  const [flag] = word.startsWith("--") ? word.split("=") : [word];
  return options.find(({ long, short }) => flag === long || flag === short);
}

/** Whether a word is probably a misspelt option, or one with a value, which may be a secret: never an operand. */
function isSlip(options: readonly Option[], word: string): boolean {
  if (!word.startsWith("--")) return false;
  const known = ["--help", ...options.flatMap(({ long }) => long ?? [])];
  return word.includes("=") || known.some((long) => long.startsWith(word) || isNear(word, long, 2));
}
