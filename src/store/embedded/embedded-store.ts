/**
 * The store for one machine: one LMDB file, shared by any number of processes. Depends on lmdb and
 * the domain's ports.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  statfsSync,
  statSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { open } from "lmdb";
import { AuthError } from "../../auth/errors.js";
import type { UsernameMatch } from "../../auth/usernames.js";
import type { Finding } from "../inspection.js";
import type { Store } from "../store.js";
import { storeDeadlineMs } from "../unavailable.js";
import { accessWarnings } from "./access.js";
import { EmbeddedAudit } from "./audit.js";
import { EmbeddedStoreError, StoreFile } from "./databases.js";
import { faultOfFile, notOurs } from "./file.js";
import { EmbeddedKeys } from "./keys.js";
import { EmbeddedRevocations } from "./revocations.js";
import { EmbeddedTakeover } from "./takeover.js";
import { EmbeddedThrottle } from "./throttle.js";
import { EmbeddedUsers } from "./users.js";

/** The version of what this module writes; a file of another version is refused. */
const format = 1;
const staleReadersCheckMs = 60_000;
const newStoreBytes = 1_048_576;

export interface EmbeddedStoreOptions {
  /** The folder of the file. */
  readonly dataDir: string;
  /** Whether folder and file are made where they are absent. Default true. */
  readonly mayCreate?: boolean;
  /** Time after which a write that waits for another process or the disk is given up. */
  readonly deadlineMs?: number;
  /** Changes the store for good: processes with another setting can then read no users. */
  readonly usernameMatch?: UsernameMatch;
  /** How many of the throttle's documents are kept that it can do without. */
  readonly throttleDocumentsMax?: number;
  /** How many entries of the record of administration are kept. */
  readonly auditEntriesMax?: number;
}

/** @throws EmbeddedStoreError if the folder or the file in it cannot be used. */
export async function openEmbeddedStore(options: EmbeddedStoreOptions): Promise<Store> {
  const path = join(resolve(options.dataDir), "latchkey.mdb");
  if (options.mayCreate === false && !existsSync(path)) {
    throw new EmbeddedStoreError(
      `there is no embedded store at ${path}: check DATA_DIR and the working directory, or set MONGODB_URI`,
    );
  }
  prepareFile(resolve(options.dataDir), path);
  const root = open({
    path,
    noSubdir: true,
    // Else a write is reported before it is on the disk.
    overlappingSync: false,
    // Else a failed commit, as on a full disk, is a rejection that nobody can handle.
    eventTurnBatching: false,
  });
  const readersCheck = setInterval(() => root.readerCheck(), staleReadersCheckMs).unref();
  const close = async () => {
    clearInterval(readersCheck);
    await root.close();
  };
  try {
    const names = [...root.getKeys()];
    if (names.length > 0 && !names.includes("meta")) {
      throw new EmbeddedStoreError(`${path} ${notOurs}`);
    }
    const { deadlineMs = storeDeadlineMs, usernameMatch = "exact" } = options;
    const file = new StoreFile(root, deadlineMs, usernameMatch, isStillThere(path));
    await claim(file, path);
    file.rekeyUsernames(path);
    return {
      users: new EmbeddedUsers(file),
      keys: new EmbeddedKeys(file),
      throttle: new EmbeddedThrottle(file, options.throttleDocumentsMax),
      audit: new EmbeddedAudit(file, options.auditEntriesMax),
      revocations: new EmbeddedRevocations(file),
      takeover: new EmbeddedTakeover(file),
      secret: () => file.secret(options.mayCreate ?? true),
      inspect: () => inspectEmbedded(file, path),
      ping: () => file.read(() => void file.meta.get("format")),
      probe: () => file.probe(),
      warnings: () => Promise.resolve(accessWarnings(path)),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Whether the file that was opened is the one that the path still names. */
function isStillThere(path: string): () => boolean {
  const identity = () => {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat && `${stat.dev}:${stat.ino}`;
  };
  const opened = identity();
  return () => identity() === opened;
}

/** Step by step: the recursive `mkdir` of Node.js 20 never ends under /proc. */
function makeFolder(path: string): void {
  if (existsSync(path)) return;
  makeFolder(dirname(path));
  try {
    mkdirSync(path, 0o700);
  } catch (error) {
    // Another process may have been first.
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

/** LMDB ends the process on a path or file that it cannot use: whatever it would meet, we meet first. */
function prepareFile(dataDir: string, path: string): void {
  try {
    makeFolder(dataDir);
    const isNew = [path, `${path}-lock`].map((name) => {
      const file = openSync(name, "a+", 0o600);
      const { size } = fstatSync(file);
      closeSync(file);
      return size === 0;
    });
    const { bavail, bsize } = statfsSync(dataDir);
    if (isNew.includes(true) && bavail * bsize < newStoreBytes) {
      throw new EmbeddedStoreError(`${path} cannot be created: the disk is full`);
    }
    const fault = faultOfFile(path);
    if (fault !== undefined) throw new EmbeddedStoreError(`${path} ${fault}`);
  } catch (error) {
    if (error instanceof EmbeddedStoreError) throw error;
    const { message } = error as Error;
    throw new EmbeddedStoreError(`${path} cannot be opened: ${message}`, { cause: error });
  }
}

async function* inspectEmbedded(file: StoreFile, path: string): AsyncGenerator<Finding> {
  await file.read(() => file.meta.get("format"));
  yield { level: "ok", check: "connection", message: `the embedded store ${path} can be read` };
  for (const message of accessWarnings(path))
    yield { level: "warning", check: "privileges", message };
  if (file.isEmpty()) {
    const remedy = "check DATA_DIR and the working directory, or add a user: users add";
    yield { level: "error", check: "users", message: `0 users in ${path}`, remedy };
  }
  try {
    await file.probe();
  } catch (error) {
    if (!(error instanceof AuthError)) throw error;
    const cause = error.cause instanceof Error ? `: ${error.cause.message}` : "";
    const remedy =
      "make room on the disk, or let the file be written: no login that counts succeeds";
    yield { level: "error", check: "connection", message: error.message + cause, remedy };
  }
}

/** Marks a new file with the format, or makes sure of it. */
async function claim(file: StoreFile, path: string): Promise<void> {
  const found = await file.read(() => file.meta.get("format"));
  // A file that is ours is opened without a write: its disk may be full.
  const stored =
    found ??
    (await file.write(() => {
      const other: unknown = file.meta.get("format");
      if (other === undefined) void file.meta.put("format", format);
      return other ?? format;
    }));
  if (stored !== format) {
    throw new EmbeddedStoreError(
      `${path} has format ${JSON.stringify(stored)}; this version of Latchkey reads format ${format}`,
    );
  }
}
