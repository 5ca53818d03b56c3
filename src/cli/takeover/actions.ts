/** The work of the `takeover` commands. Depends on the take-over, auth's types, node and the neighbours in cli. */
import { createInterface } from "node:readline/promises";
import { afterWrites } from "../../auth/errors.js";
import type { Config } from "../../config/config.js";
import type { Store } from "../../store/store.js";
import { finish, type FinishOutcome } from "../../takeover/finish.js";
import { setLead } from "../../takeover/lead.js";
import { notReadyBecause, readProgress, type Progress } from "../../takeover/progress.js";
import { withStore, type JsonOption, type Session } from "../command.js";
import { recorded } from "../record.js";
import { CliError, formatTable, safe, toJson, writeLine, type Terminal } from "../terminal.js";

export interface StatusOptions extends JsonOption {
  readonly ready?: boolean;
  readonly days: number;
  readonly except?: readonly string[];
}

export interface EndOptions extends JsonOption {
  readonly yes?: boolean;
  readonly dryRun?: boolean;
}

export async function showStatus(session: Session, options: StatusOptions): Promise<void> {
  const { terminal, clock } = session;
  const { json = false, ready = false, days, except = [] } = options;
  await withStore(session, async (store) => {
    const nowMs = clock.now();
    const progress = await readProgress(store.takeover, store.users, nowMs);
    if (json) await writeLine(terminal.stdout, toJson(describe(progress)));
    else for await (const line of statusLines(progress)) await writeLine(terminal.stdout, line);
    if (!ready) return;
    const counted = progress.differences.filter(({ kind }) => !except.includes(kind));
    const reason = notReadyBecause({ ...progress, differences: counted }, days, nowMs);
    if (reason !== undefined) throw new CliError("not_ready", `not ready: ${reason}`);
  });
}

function describe({ lead, breaker, days, differences, ...progress }: Progress) {
  const time = (timeMs: number) => new Date(timeMs).toISOString();
  return {
    lead: lead ?? null,
    ...progress,
    breaker: breaker?.state ?? "closed",
    cause: breaker?.cause ?? null,
    days: days.map(({ day, counts }) => ({ day, ...counts })),
    differences: differences.map(({ kind, count, firstAtMs, lastAtMs, examples }) => ({
      ...{ kind, count, first: time(firstAtMs), last: time(lastAtMs), examples },
    })),
  };
}

async function* statusLines(progress: Progress): AsyncGenerator<string> {
  const { lead, users, usable, learnt, unknown, breaker, forecast, days, differences } = progress;
  yield `leads        ${leadText(lead)}`;
  yield `users        ${users} in all: ${usable} with a usable hash, ${learnt} learnt, ${unknown} unknown`;
  yield `breaker      ${breakerText(breaker)}`;
  yield `forecast     95% of those who log in are known by ${forecast["95"] ?? "(not in sight)"}, 99% by ${forecast["99"] ?? "(not in sight)"}`;
  yield "";
  yield `logins by who answered them${days.length === 0 ? ": none yet" : ""}`;
  if (days.length > 0) {
    const header = ["  DAY", "OLD SERVER", "LATCHKEY", "AFTER A QUESTION", "COMPARED"];
    const rows = days.map(({ day, counts }) => [
      `  ${day}`,
      ...["by_old", "by_own", "by_question", "compared"].map((name) => String(counts[name] ?? 0)),
    ]);
    yield* formatTable(header, rows);
  }
  yield "";
  yield `differences${differences.length === 0 ? ": none" : ""}`;
  if (differences.length === 0) return;
  const rows = differences.map(({ kind, count, firstAtMs, lastAtMs, examples }) => [
    ...[`  ${safe(kind)}`, String(count), minute(firstAtMs), minute(lastAtMs)],
    safe(examples.join(", ")) || "-",
  ]);
  yield* formatTable(["  KIND", "COUNT", "FIRST", "LAST", "_ID"], rows);
}

const minute = (timeMs: number) => new Date(timeMs).toISOString().slice(0, 16).replace("T", " ");

function breakerText(breaker: Progress["breaker"]): string {
  if (breaker === undefined) return "closed";
  const { state, atMs, cause } = breaker;
  return `${state} since ${minute(atMs)}${cause === undefined ? "" : `: ${safe(cause)}`}`;
}

function leadText(lead: number | undefined): string {
  if (lead === undefined) return "not started: Latchkey has not run with UPSTREAM_URL yet";
  if (lead === 0) return "the old server (0%)";
  return lead === 100
    ? "Latchkey (100%)"
    : `Latchkey for ${lead}% of the names, the old server for the others`;
}

export async function changeLead(
  session: Session,
  text: string,
  { json = false }: JsonOption,
): Promise<void> {
  const { stdout } = session.terminal;
  const percent = Number(text);
  const before = await withStore(session, (store, { UPSTREAM_LEAD }) => {
    if (!/^\d+$/.test(text) || percent > 100) {
      throw new CliError("usage", "the lead must be a whole number from 0 to 100", 2);
    }
    return recorded(
      session,
      store,
      { action: "takeover_lead", about: "the lead", details: { percent } },
      () => setLead(store.takeover, percent, UPSTREAM_LEAD),
    );
  });
  const document = { lead: percent, before: before?.percent ?? null };
  const sentence = `Latchkey answers ${percent}% of the usernames, ${before?.percent ?? 0}% before; every replica knows within a second`;
  await writeLine(stdout, json ? toJson(document) : sentence);
}

const outcomeTexts = {
  moved: "moved into the users collection",
  made: "created there; only the old server knew them",
  already: "had the hash already",
  kept: "keep the hash they have there",
  without_hash: "have no password, neither there nor learnt",
  refused:
    "LEFT: the old server has refused the password whose hash is there; disable them, or set another password",
  unknown_password: "LEFT: not in the users collection, and no password was learnt",
  username_taken: "LEFT: another user has the name",
  id_taken: "LEFT: another user has the _id",
  changed: "LEFT: changed meanwhile, or their hash cannot be stored; run finish again",
} as const satisfies Record<FinishOutcome, string>;
const outcomes = Object.keys(outcomeTexts) as FinishOutcome[];
const isLeft = (outcome: FinishOutcome) => outcomeTexts[outcome].startsWith("LEFT");

export async function finishTakeover(session: Session, options: EndOptions): Promise<void> {
  const { terminal } = session;
  const { json = false, dryRun = false } = options;
  await withStore(session, async (store, config) => {
    const { users, hashes } = await store.takeover.count();
    const question = `Move ${hashes} learnt passwords into ${placeOf(config)}?`;
    if (!dryRun && users > 0) await confirm(terminal, question, options);
    const counts: Partial<Record<FinishOutcome, number>> = {};
    const left: { _id: string; username: string; reason: FinishOutcome }[] = [];
    const run = () =>
      finish({
        ...{ store: store.takeover, users: store.users, dryRun },
        onOutcome({ subject, username }, outcome) {
          counts[outcome] = (counts[outcome] ?? 0) + 1;
          if (isLeft(outcome)) left.push({ _id: subject, username, reason: outcome });
        },
      });
    const about = "the learnt passwords (some may have been moved: run finish again)";
    const deed = { action: "takeover_finished", about };
    // Nothing is recorded if there is nothing to do.
    if (dryRun || users === 0) await run();
    else
      await recorded(
        session,
        store,
        deed,
        () => run().catch(afterWrites),
        () => ({ ...counts }),
      );
    const progress = await readProgress(store.takeover, store.users, session.clock.now());
    const { unknown } = progress;
    if (json) {
      const all = Object.fromEntries(outcomes.map((name) => [name, counts[name] ?? 0]));
      await writeLine(terminal.stdout, toJson({ dryRun, ...all, left, unknown }));
    } else
      for (const line of finishLines(counts, left, progress, dryRun))
        await writeLine(terminal.stdout, line);
    if (left.length > 0) session.exitCode = 1;
  });
}

function* finishLines(
  counts: Partial<Record<FinishOutcome, number>>,
  left: readonly { _id: string; username: string; reason: FinishOutcome }[],
  { unknown }: Progress,
  dryRun: boolean,
): Generator<string> {
  if (dryRun) yield "nothing was changed; this is what would be done:";
  for (const outcome of outcomes) {
    if (counts[outcome] !== undefined) yield `${counts[outcome]} ${outcomeTexts[outcome]}`;
  }
  for (const { _id, username, reason } of left)
    yield `  ${safe(`${username} (${_id})`)}: ${reason}`;
  yield `${unknown} users have no password in Latchkey: without the old server they cannot log in`;
}

const placeOf = ({ MONGODB_URI, USERS_COLLECTION, DATA_DIR }: Config) =>
  MONGODB_URI === undefined ? `the store in ${DATA_DIR}` : `the collection ${USERS_COLLECTION}`;

export async function abandonTakeover(session: Session, options: EndOptions): Promise<void> {
  const { terminal } = session;
  const { json = false, dryRun = false } = options;
  await withStore(session, async (store: Store) => {
    const { users, hashes } = await store.takeover.count();
    const lead = (await store.takeover.lead())?.percent ?? 0;
    if (!dryRun && users > 0) {
      await confirm(terminal, `Drop ${hashes} learnt passwords of ${users} users?`, options);
      await recorded(
        session,
        store,
        { action: "takeover_abandoned", about: "the learnt passwords" },
        () => store.takeover.forgetAll(),
        (dropped) => ({ dropped }),
      );
    }
    const sentence = `${dryRun ? "would drop" : "dropped"} ${hashes} learnt passwords of ${users} users; Latchkey leads ${lead}%`;
    await writeLine(terminal.stdout, json ? toJson({ dryRun, users, hashes, lead }) : sentence);
  });
}

/** @throws CliError unless the operator says yes, on the terminal or by `--yes` */
async function confirm(terminal: Terminal, question: string, { yes }: EndOptions): Promise<void> {
  if (yes) return;
  const { stdin, stderr } = terminal;
  if (!stdin.isTTY) {
    throw new CliError("no_terminal", "there is no terminal to ask on; use --yes", 2);
  }
  const input = createInterface({ input: stdin, output: stderr });
  const interruption = new AbortController();
  input.once("SIGINT", () => interruption.abort(new CliError("interrupted", "interrupted", 130)));
  try {
    const { signal } = interruption;
    const answer = await input
      .question(`${question} [y/N] `, { signal })
      .catch((error: unknown) => {
        signal.throwIfAborted();
        throw error;
      });
    if (!/^y(es)?$/i.test(answer.trim())) throw new CliError("not_confirmed", "nothing was done");
  } finally {
    input.close();
  }
}
