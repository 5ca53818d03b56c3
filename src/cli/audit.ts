/** `latchkey audit`: lists the administration log. Depends on commander and the domain's port. */
import { InvalidArgumentError, type Command } from "commander";
import type { StoredAuditEntry } from "../auth/audit.js";
import { duration } from "../config/config.js";
import { describeCommand, withStore, type JsonOption, type Session } from "./command.js";
import { formatTable, safe, toJson, writeLine } from "./terminal.js";

interface AuditOptions extends JsonOption {
  /** In milliseconds since 1970. */
  readonly since?: number;
}

export function addAuditCommand(program: Command, session: Session): void {
  describeCommand(
    program.command("audit"),
    "List what was done on the command line, by whom and when, newest last.",
    "latchkey audit --since 7d",
  )
    .option("--since <time>", "a duration such as 7d, or a date such as 2026-01-31", (text) =>
      sinceMs(text, session.clock.now()),
    )
    .action((options: AuditOptions) => listAudit(session, options));
}

function sinceMs(text: string, nowMs: number): number {
  const date = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : NaN;
  if (!Number.isNaN(date)) return date;
  try {
    return nowMs - duration(0, 86_400 * 36_500)(text) * 1000;
  } catch {
    throw new InvalidArgumentError("must be a duration such as 7d, or a date such as 2026-01-31");
  }
}

const header = ["TIME", "BY", "ACTION", "TARGET", "OUTCOME", "DETAILS"] as const;

async function listAudit(session: Session, { since = 0, json }: AuditOptions): Promise<void> {
  const { stdout } = session.terminal;
  await withStore(session, async ({ audit }) => {
    if (json) {
      for await (const entry of audit.list(since)) await writeLine(stdout, toJson(describe(entry)));
      return;
    }
    for await (const line of formatTable(header, rows(audit.list(since)))) {
      await writeLine(stdout, line);
    }
  });
}

function describe({ atMs, action, target, by, outcome, details }: StoredAuditEntry) {
  const time = new Date(atMs).toISOString();
  return { time, by, action, target: target ?? null, outcome, details: details ?? {} };
}

async function* rows(entries: AsyncIterable<StoredAuditEntry>): AsyncGenerator<readonly string[]> {
  for await (const entry of entries) {
    const { time, by, action, target, outcome, details } = describe(entry);
    const listed = Object.entries(details).map(([name, value]) => `${name}=${format(value)}`);
    const who = `${by.user}@${by.host}`;
    yield [time, who, action, target ?? "-", outcome, listed.join(" ")].map(safe);
  }
}

const format = (value: unknown) =>
  typeof value === "string" || typeof value === "number" ? String(value) : JSON.stringify(value);
