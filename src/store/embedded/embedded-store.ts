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
import { faultOfFile, noteWhole, notOurs } from "./file.js";
import { EmbeddedKeys } from "./keys.js";
import { EmbeddedRevocations } from "./revocations.js";
import { EmbeddedTakeover } from "./takeover.js";
import { EmbeddedThrottle } from "./throttle.js";
import { EmbeddedUsers } from "./users.js";

/** The version of the file's format; a file of another version is refused. */
const format = 1;
const staleReadersCheckMs = 60_000;
/** LMDB writes lines of its own to standard error on a full disk: writes are refused before it is full. */
const freeBytesMin = 1_048_576;

export interface EmbeddedStoreOptions {
  /** The folder of the file. */
  readonly dataDir: string;
  /** Whether to create folder and file if they do not exist. Default true. */
  readonly mayCreate?: boolean;
  /** Time after which a write that waits for another process or the disk fails. */
  readonly deadlineMs?: number;
  /** Changes the store's index: processes with another setting can then read no users. */
  readonly usernameMatch?: UsernameMatch;
  /** How many of the throttle's disposable documents are kept. */
  readonly throttleDocumentsMax?: number;
  /** How many entries of the administration log are kept. */
  readonly auditEntriesMax?: number;
}

/** @throws EmbeddedStoreError if the folder or the file in it cannot be used. */
export async function openEmbeddedStore(options: EmbeddedStoreOptions): Promise<Store> {
  const path = join(resolve(options.dataDir), "latchkey.mdb");
  prepareFile(resolve(options.dataDir), path, options.mayCreate ?? true);
  const root = open({
    path,
    noSubdir: true,
    // With it, a write resolves before it is on the disk.
    overlappingSync: false,
    // With it, a failed commit, as on a full disk, becomes a rejection that cannot be handled.
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
    const file = new StoreFile(root, deadlineMs, usernameMatch, writeFaultOf(path));
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
      close: async () => {
        await close();
        noteWhole(path);
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Returns a function that says why nothing can be written to the file that is there now; undefined if it can. */
function writeFaultOf(path: string): () => string | undefined {
  const identity = () => {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat && `${stat.dev}:${stat.ino}`;
  };
  const opened = identity();
  return () => {
    if (identity() !== opened)
      return "the file of the embedded store was deleted or replaced: restart";
    return isFull(path) ? "the embedded store cannot be written: the disk is full" : undefined;
  };
}

function isFull(path: string): boolean {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize < freeBytesMin;
}

/** Makes a folder and its parents. The recursive `mkdir` of Node.js 20 never returns under /proc. */
function makeFolder(path: string): void {
  if (existsSync(path)) return;
  makeFolder(dirname(path));
  try {
    mkdirSync(path, 0o700);
  } catch (error) {
    // Another process may have made it meanwhile.
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

/** Checks path and file first, because LMDB ends the process on those that it cannot use. */
function prepareFile(dataDir: string, path: string, mayCreate: boolean): void {
  try {
    // Unlike existsSync, it throws if the folder may not be searched.
    if (!mayCreate && statSync(path, { throwIfNoEntry: false }) === undefined) {
      throw new EmbeddedStoreError(
        `there is no embedded store at ${path}: check DATA_DIR and the working directory, or set MONGODB_URI`,
      );
    }
    makeFolder(dataDir);
    const isNew = [path, `${path}-lock`].map((name) => {
      const file = openSync(name, "a+", 0o600);
      const { size } = fstatSync(file);
      closeSync(file);
      return size === 0;
    });
    if (isNew.includes(true) && isFull(dataDir)) {
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
    const remedy = "free space on the disk, or make the file writable: until then logins fail";
    yield { level: "error", check: "connection", message: error.message + cause, remedy };
  }
}

/** Writes the format into a new file; checks it in an existing one. @throws EmbeddedStoreError */
async function claim(file: StoreFile, path: string): Promise<void> {
  const found = await file.read(() => file.meta.get("format"));
  // An existing store is opened without a write, because its disk may be full.
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
