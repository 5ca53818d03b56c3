/** `latchkey takeover`: the commands. Depends on commander; their work is loaded when they run. */
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
    .option("--ready", "exit with 1 unless the last --days days had no difference")
    .option("--days <days>", "number of days for --ready", readDays, 7)
    .option("--except <kind...>", "kinds of difference to ignore, as status writes them")
    .action(async (options: StatusOptions) => (await load()).showStatus(session, options));
  describeCommand(
    takeover.command("lead <percent>"),
    "Set the percentage of usernames that Latchkey answers itself; 0 gives all back to the old server.",
    "latchkey takeover lead 1",
  ).action(async (percent: string, options: JsonOption) =>
    (await load()).changeLead(session, percent, options),
  );
  describeEnd(
    takeover.command("finish"),
    "Move the learnt passwords into the users' collection, and create the users that are missing.",
    "latchkey takeover finish --dry-run",
  ).action(async (options: EndOptions) => (await load()).finishTakeover(session, options));
  describeEnd(
    takeover.command("abandon"),
    "Drop the learnt passwords. The lead stays unchanged.",
    "latchkey takeover abandon --yes",
  ).action(async (options: EndOptions) => (await load()).abandonTakeover(session, options));
}

function describeEnd(command: Command, summary: string, example: string): Command {
  return describeCommand(command, summary, example)
    .option("--yes", "do not ask for confirmation")
    .option("--dry-run", "say what would be done, and do nothing");
}

function readDays(text: string): number {
  if (/^\d{1,4}$/.test(text)) return Number(text);
  throw new CliError("usage", "--days must be a whole number from 0 to 9999", 2);
}
