/**
 * `latchkey users import`: writes a stream of lines into the store, batch by batch. Depends on the store's port and
 * node:fs; a dry run also makes a temporary embedded store.
 */
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { Readable } from "node:stream";
import { afterWrites, AuthError } from "../../auth/errors.js";
import { UnfinishedImport } from "../../auth/users.js";
import type { ImportConflict, ImportOutcome, UserStore, UserToImport } from "../../auth/users.js";
import type { Config } from "../../config/config.js";
import {
  isSameSecond,
  waitForNextSecond,
  withStore,
  type JsonOption,
  type Session,
} from "../command.js";
import { importFormatOf, type ImportFormat } from "./formats.js";
import { readLines, type ImportedUser, type Line } from "./lines.js";
import { readObjects, type ImportFormatName } from "./objects.js";
import { ImportSummary, type ImportCounts } from "./summary.js";
import type { Store } from "../../store/store.js";
import { recorded } from "../record.js";
import { createProgressBar } from "../progress-bar.js";
import { CliError, note, safe, toJson, writeLine } from "../terminal.js";
import { FieldFault } from "../users/fields.js";

export interface ImportOptions extends JsonOption {
  readonly dryRun: boolean;
  readonly onConflict: ImportConflict;
  readonly format: ImportFormatName;
  /** Path of the hash parameters of a Firebase project. */
  readonly firebaseConfig?: string;
}

const batchLines = 1000;
/** Long, because it is better to wait for a slow store than to give up in the middle of a batch. */
const batchMsMax = 60_000;
const lineBytesMax = 1_048_576;

/**
 * Imports every valid line. Prints each rejected line on standard error and a summary on standard output. Exit code 1
 * if a line was rejected.
 * @throws ConfigError, CliError, AuthError `store_unavailable`
 */
export async function importUsers(
  session: Session,
  file: string,
  options: ImportOptions,
): Promise<void> {
  const source = await openSource(session, file);
  const interrupted = session.terminal.interruption();
  interrupted.addEventListener("abort", () => source.stream.destroy());
  try {
    const work = async (store: Store, config: Config) => {
      const format = await importFormatOf(options.format, options.firebaseConfig, config);
      const run = () =>
        withTarget(session, store.users, options, config, (write) =>
          importSource(session, options, format, source, write, interrupted),
        );
      if (options.dryRun) return run();
      const details = { file: basename(file), onConflict: options.onConflict };
      const result = ({ added, replaced, skipped, rejected }: ImportCounts) =>
        added + replaced === 0 ? undefined : { added, replaced, skipped, rejected };
      const deed = { action: "users_imported", about: `the import of ${file}`, details };
      return recorded(session, store, deed, run, result);
    };
    await withStore(session, work, { deadlineMs: batchMsMax, mayCreate: !options.dryRun });
  } finally {
    source.stream.destroy();
  }
}

async function importSource(
  session: Session,
  options: ImportOptions,
  format: ImportFormat,
  source: Source,
  write: Write,
  interrupted: AbortSignal,
): Promise<ImportCounts> {
  const { terminal, clock } = session;
  const summary = new ImportSummary(options.dryRun);
  const bar = createProgressBar(terminal, clock);
  let replacedAtMs: number | undefined;
  try {
    const batches = readBatches(source.chunks(interrupted), format, interrupted);
    for await (const batch of readAhead(batches)) {
      const users = batch.flatMap(({ content }) =>
        content instanceof FieldFault ? [] : content.user,
      );
      const nowMs = clock.now();
      const { known, failure } = await writeBatch(write, users, new Date(nowMs));
      const outcomes = known.values();
      for (const { line, content } of batch) {
        const fault =
          content instanceof FieldFault ? content : summary.count(content, outcomes.next().value);
        if (fault === undefined) continue;
        summary.counts.rejected++;
        bar.clear();
        await note(terminal, describeRejection(line, fault, options));
      }
      if (summary.counts.replaced > 0 && !options.dryRun) replacedAtMs = clock.now();
      if (failure && summary.counts.added + summary.counts.replaced > 0) afterWrites(failure);
      if (failure) throw failure;
      bar.show(source.share(), `${batch.at(-1)?.line ?? 0} lines`);
    }
    // Tokens issued after the command must be accepted.
    if (replacedAtMs !== undefined) await waitForNextSecond(clock, replacedAtMs);
    return summary.counts;
  } finally {
    bar.clear();
    if (interrupted.aborted) session.exitCode = Number(interrupted.reason);
    else if (summary.counts.rejected > 0) session.exitCode = 1;
    const text = options.json
      ? toJson(summary.toJson(interrupted.aborted))
      : summary.toText(interrupted.aborted);
    await writeLine(terminal.stdout, text);
  }
}

/** Writes a batch. Returns the known outcomes, and the failure if there was one. */
async function writeBatch(write: Write, users: readonly UserToImport[], replacedAt: Date) {
  try {
    return { known: await write(users, replacedAt), failure: undefined };
  } catch (error) {
    if (!(error instanceof UnfinishedImport)) throw error;
    return { known: error.outcomes, failure: error };
  }
}

function describeRejection(
  line: number,
  { field, reason, message }: FieldFault,
  { json }: JsonOption,
): string {
  return json
    ? toJson({ rejected: { line, field: field ?? null, reason } })
    : `line ${line}: ${safe(message)}`;
}

interface Source {
  readonly stream: Readable;
  /** Ends early when `interrupted`. */
  chunks(interrupted: AbortSignal): AsyncGenerator<Buffer>;
  /** The share that has been read, from 0 to 1; undefined if the length is unknown. */
  share(): number | undefined;
}

async function openSource({ terminal }: Session, file: string): Promise<Source> {
  const unreadable = (error: unknown) =>
    new CliError("file_unreadable", `cannot read ${file}: ${(error as Error).message}`);
  const handle =
    file === "-"
      ? undefined
      : await open(file).catch((error: unknown) => {
          throw unreadable(error);
        });
  const stat = await handle?.stat();
  const sizeBytes = stat?.isFile() ? stat.size : undefined;
  const stream = handle?.createReadStream() ?? terminal.stdin;
  let readBytes = 0;
  return {
    stream,
    async *chunks(interrupted) {
      try {
        for await (const chunk of stream as AsyncIterable<Buffer>) {
          readBytes += chunk.length;
          yield chunk;
        }
      } catch (error) {
        if (!interrupted.aborted) throw unreadable(error);
      }
    },
    share: () => (sizeBytes === undefined ? undefined : readBytes / Math.max(sizeBytes, 1)),
  };
}

interface Entry {
  readonly line: number;
  readonly content: ImportedUser | FieldFault;
}

/** Reads batches of lines. When `interrupted`, drops the lines since the last batch. */
async function* readBatches(
  chunks: AsyncIterable<Buffer>,
  format: ImportFormat,
  interrupted: AbortSignal,
): AsyncGenerator<readonly Entry[]> {
  let batch: Entry[] = [];
  for await (const line of readEntries(chunks, format)) {
    if (interrupted.aborted) return;
    if (line.bytes?.every(isBlank)) continue;
    batch.push({ line: line.number, content: readEntry(line, format) });
    if (batch.length < batchLines) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0 && !interrupted.aborted) yield batch;
}

/** Reads the next item while the caller works on the current one. */
async function* readAhead<T>(items: AsyncGenerator<T>): AsyncGenerator<T> {
  let next = items.next();
  for (;;) {
    const item = await next;
    if (item.done) return;
    next = items.next();
    // If the caller stops before it asks for this item, its error does not matter.
    next.catch(() => undefined);
    yield item.value;
  }
}

const isBlank = (byte: number) => byte === 0x20 || byte === 0x09 || byte === 0x0d;

const openBracket = 0x5b;

/** Reads one user a line, or, if the file is a list or the format has a `member`, the objects of the list. */
async function* readEntries(
  chunks: AsyncIterable<Buffer>,
  { member }: ImportFormat,
): AsyncGenerator<Line> {
  const rest = chunks[Symbol.asyncIterator]();
  const first = await rest.next();
  if (first.done) return;
  const all = (async function* () {
    yield first.value;
    yield* { [Symbol.asyncIterator]: () => rest };
  })();
  const start = first.value.find((byte) => byte > 0x20 && byte < 0x80);
  const isList = start === openBracket;
  if (isList || member !== undefined) yield* readObjects(all, lineBytesMax, member, isList);
  else yield* readLines(all, lineBytesMax);
}

function readEntry({ bytes }: Line, format: ImportFormat): ImportedUser | FieldFault {
  if (bytes === undefined) return new FieldFault(undefined, `is over ${lineBytesMax} bytes long`);
  try {
    return format.read(bytes);
  } catch (error) {
    if (error instanceof FieldFault) return error;
    throw error;
  }
}

/** Users whose tokens are revoked at once. */
const endedTogether = 100;

/** If a new second has begun since the batch, tokens issued in it may rest on a replaced hash, so revokes them too. */
async function endTokensSince(
  stored: UserStore,
  replaced: readonly UserToImport[],
  replacedAt: Date,
  now: Date,
): Promise<void> {
  if (isSameSecond(replacedAt.getTime(), now.getTime())) return;
  const end = async ({ id }: UserToImport) => {
    const account = await stored.findBySubject(id.value);
    const { tokensValidAfter } = account ?? {};
    // A user whose hash did not change keeps his tokens.
    if (tokensValidAfter && isSameSecond(tokensValidAfter.getTime(), replacedAt.getTime())) {
      await stored.update(id, { tokensValidAfter: now });
    }
  };
  for (let start = 0; start < replaced.length; start += endedTogether) {
    await Promise.all(replaced.slice(start, start + endedTogether).map(end));
  }
}

type Write = (users: readonly UserToImport[], replacedAt: Date) => Promise<ImportOutcome[]>;

/**
 * Runs `work` with a function that writes a batch. A dry run adds the users to a temporary store, so that later
 * batches find the same conflicts as in a real import.
 */
async function withTarget(
  { clock }: Session,
  stored: UserStore,
  { dryRun, onConflict }: ImportOptions,
  { USERNAME_MATCH: usernameMatch }: Config,
  work: (write: Write) => Promise<ImportCounts>,
): Promise<ImportCounts> {
  if (!dryRun) {
    return work(async (users, replacedAt) => {
      const outcomes = await stored.import(users, { onConflict, replacedAt, dryRun: false });
      const replaced = users.filter((_, index) => outcomes[index] === "replaced");
      try {
        await endTokensSince(stored, replaced, replacedAt, new Date(clock.now()));
      } catch (error) {
        throw new UnfinishedImport(outcomes, AuthError.from(error));
      }
      return outcomes;
    });
  }
  const dataDir = await mkdtemp(join(tmpdir(), "latchkey-dry-run-"));
  const { openEmbeddedStore } = await import("../../store/embedded/embedded-store.js");
  const scratch = await openEmbeddedStore({ dataDir, usernameMatch });
  try {
    return await work(async (users, replacedAt) => {
      const outcomes = await stored.import(users, { onConflict, replacedAt, dryRun: true });
      const added = users.filter((_, index) => outcomes[index] === "added");
      const again = await scratch.users.import(added, { onConflict, replacedAt, dryRun: false });
      return outcomes.map((outcome) =>
        outcome === "added" ? (again.shift() ?? outcome) : outcome,
      );
    });
  } finally {
    await scratch.close();
    await rm(dataDir, { recursive: true });
  }
}
