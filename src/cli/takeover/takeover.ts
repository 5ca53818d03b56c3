/** `latchkey takeover`: the commands. Depends on commander; what they do is loaded when they run. */
import type { Command } from "commander";
import { describeCommand, type JsonOption, type Session } from "../command.js";
import { CliError } from "../terminal.js";
import type { EndOptions, StatusOptions } from "./actions.js";

export function addTakeoverCommands(program: Command, session: Session): void {
  const takeover = program
    .command("takeover")
    .description("Take over from an old server that still runs (see docs/take-over.md).");
  const load = () => import("./actions.js");
  describeCommand(
    takeover.command("status"),
    "Show who leads, how many users are known, and where the two servers differ.",
    "latchkey takeover status --ready --days 7",
  )
    .option("--ready", "exit with 1 unless there was no difference for so many days")
    .option("--days <days>", "how many days that is", readDays, 7)
    .option("--except <kind...>", "kinds of difference that do not count, as status writes them")
    .action(async (options: StatusOptions) => (await load()).showStatus(session, options));
  describeCommand(
    takeover.command("lead <percent>"),
    "Set the per cent of the usernames that Latchkey answers itself; 0 is the way back.",
    "latchkey takeover lead 1",
  ).action(async (percent: string, options: JsonOption) =>
    (await load()).changeLead(session, percent, options),
  );
  describeEnd(
    takeover.command("finish"),
    "Move what was learnt into the users collection, and make the users that are missing.",
    "latchkey takeover finish --dry-run",
  ).action(async (options: EndOptions) => (await load()).finishTakeover(session, options));
  describeEnd(
    takeover.command("abandon"),
    "Drop what was learnt. The lead stays what it is.",
    "latchkey takeover abandon --yes",
  ).action(async (options: EndOptions) => (await load()).abandonTakeover(session, options));
}

function describeEnd(command: Command, summary: string, example: string): Command {
  return describeCommand(command, summary, example)
    .option("--yes", "do not ask first")
    .option("--dry-run", "say what would be done, and do nothing");
}

function readDays(text: string): number {
  if (/^\d{1,4}$/.test(text)) return Number(text);
  throw new CliError("usage", "--days must be a whole number from 0 to 9999", 2);
}
