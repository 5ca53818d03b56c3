/**
 * The store for one machine: one LMDB file, shared by any number of processes. Depends on lmdb and
 * the domain's ports.
 */
import { hash, randomBytes } from "node:crypto";
import { closeSync, fstatSync, mkdirSync, openSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { open } from "lmdb";
import type { Database, RootDatabase } from "lmdb";
import type { KeyStore } from "../auth/keys.js";
import { usernameKeyOf, type UsernameKey, type UsernameMatch } from "../auth/usernames.js";
import { userIdsOfSubject } from "../auth/users.js";
import type {
  Account,
  ImportConflict,
  ImportOutcome,
  User,
  UserChange,
  UserId,
  UserStore,
} from "../auth/users.js";
import { faultOfFile, notOurs } from "./embedded-file.js";
import {
  EmbeddedThrottle,
  openThrottleDatabases,
  type ThrottleDatabases,
} from "./embedded-throttle.js";
import { idKey, planImport } from "./import-plan.js";
import type { Store } from "./index.js";
import type { Finding } from "./inspection.js";
import { storeUnavailable, withDeadline } from "./unavailable.js";

/** The version of what this module writes; a file of another version is refused. */
const format = 1;
const staleReadersCheckMs = 60_000;
const listPageUsers = 256;
const clashesListedMax = 20;
const newStoreBytes = 1_048_576;

/** The file cannot be used as it is. Nothing has been written to it; the message names it. */
export class EmbeddedStoreError extends Error {
  override readonly name = "EmbeddedStoreError";
}

export interface EmbeddedStoreOptions {
  /** The folder of the file, made if absent. */
  readonly dataDir: string;
  /** Time after which a write that waits for another process or the disk is given up. */
  readonly deadlineMs?: number;
  /** Changes the store for good: processes with another setting can then read no users. */
  readonly usernameMatch?: UsernameMatch;
  /** How many of the throttle's documents are kept that it can do without. */
  readonly throttleDocumentsMax?: number;
}

/** @throws EmbeddedStoreError if the folder or the file in it cannot be used. */
export async function openEmbeddedStore(options: EmbeddedStoreOptions): Promise<Store> {
  const path = join(options.dataDir, "latchkey.mdb");
  prepareFile(options.dataDir, path);
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
    const { deadlineMs = 2500, usernameMatch = "exact" } = options;
    const file = new StoreFile(root, deadlineMs, usernameMatch);
    await claim(file, path);
    file.rekeyUsernames(path);
    return {
      users: new EmbeddedUsers(file),
      keys: new EmbeddedKeys(file),
      throttle: new EmbeddedThrottle(file, options.throttleDocumentsMax),
      secret: () => file.secret(),
      inspect: () => inspectEmbedded(file, path),
      ping: () => file.read(() => void file.meta.get("format")),
      warnings: () => Promise.resolve([]),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** LMDB ends the process on a path or file that it cannot use: whatever it would meet, we meet first. */
function prepareFile(dataDir: string, path: string): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
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
}

/** Marks a new file with the format, or makes sure of it. */
async function claim(file: StoreFile, path: string): Promise<void> {
  const stored = await file.write(() => {
    const found: unknown = file.meta.get("format");
    if (found === undefined) void file.meta.put("format", format);
    return found ?? format;
  });
  if (stored !== format) {
    throw new EmbeddedStoreError(
      `${path} has format ${JSON.stringify(stored)}; this version of Latchkey reads format ${format}`,
    );
  }
}

/** A user as stored: as JSON. */
type UserRecord = Omit<User, "tokensValidAfter"> & {
  readonly tokensValidAfter: string | undefined;
};

/** LMDB bounds the length of a key, so that the key of a text is its digest. */
const digest = (text: string) =>
  // By way of a string: a buffer from node:crypto has memory of its own, which costs twice the digest.
  Buffer.from(hash("sha256", Buffer.from(text, "utf16le"), "base64"), "base64");

/** The databases within the file, and the only two ways to them. */
export class StoreFile {
  readonly meta: Database<unknown, string>;
  /** By digest of the `idKey`. */
  readonly users: Database<UserRecord, Buffer>;
  /** The key in `users`, by digest of the username. */
  readonly usernames: Database<Buffer, Buffer>;
  readonly throttle: ThrottleDatabases;
  readonly #root: RootDatabase;
  readonly usernameKey: UsernameKey;
  readonly #usernameMatch: UsernameMatch;
  readonly #deadlineMs: number;

  constructor(root: RootDatabase, deadlineMs: number, usernameMatch: UsernameMatch) {
    this.#root = root;
    this.#deadlineMs = deadlineMs;
    this.#usernameMatch = usernameMatch;
    this.usernameKey = usernameKeyOf(usernameMatch);
    this.meta = root.openDB("meta", { encoding: "json" });
    this.users = root.openDB("users", { encoding: "json", keyEncoding: "binary" });
    this.usernames = root.openDB("usernames", { encoding: "binary", keyEncoding: "binary" });
    this.throttle = openThrottleDatabases(root);
  }

  /** @throws AuthError `store_unavailable` for whatever `work` throws. */
  read<T>(work: () => T): Promise<T> {
    try {
      // Else what other processes wrote in this turn of the event loop stays unseen.
      this.#root.resetReadTxn();
      return Promise.resolve(work());
    } catch (error) {
      return Promise.reject(storeUnavailable("the embedded store cannot be read", error));
    }
  }

  /** Runs `work` in a transaction: what it throws undoes what it wrote. Resolves once on disk. */
  write<T>(work: () => T): Promise<T> {
    return withDeadline(this.#deadlineMs, this.#transact(work));
  }

  async #transact<T>(work: () => T): Promise<T> {
    try {
      return await this.#root.childTransaction(work);
    } catch (error) {
      const { commitError } = error as { commitError?: Promise<never> };
      const cause: unknown = await (commitError?.catch((reason: unknown) => reason) ?? error);
      throw storeUnavailable("the embedded store cannot be written", cause);
    }
  }

  async secret(): Promise<Uint8Array> {
    const stored = await this.read(() => this.meta.get("secret"));
    if (typeof stored === "string") return Buffer.from(stored, "base64");
    const fresh = randomBytes(32).toString("base64");
    const text = await this.write(() => {
      const other = this.meta.get("secret") as string | undefined;
      if (other === undefined) void this.meta.put("secret", fresh);
      return other ?? fresh;
    });
    return Buffer.from(text, "base64");
  }

  user(key: Buffer): User | undefined {
    const record = this.users.get(key);
    if (record === undefined) return undefined;
    const { id, username, passwordHash, disabled, roles, tokensValidAfter: instant } = record;
    const tokensValidAfter = instant ? new Date(instant) : undefined;
    return { id, username, passwordHash, disabled, roles, tokensValidAfter };
  }

  userById(id: UserId): User | undefined {
    return this.user(digest(idKey(id)));
  }

  userByUsername(username: string): User | undefined {
    const key = this.usernames.get(this.#nameKey(username));
    return key && this.user(key);
  }

  /** @throws Error where another process has keyed the usernames by another setting. */
  #nameKey(username: string): Buffer {
    if (this.#storedMatch() !== this.#usernameMatch) {
      throw new Error("another process has changed USERNAME_MATCH");
    }
    return digest(this.usernameKey(username));
  }

  #storedMatch(): unknown {
    return this.meta.get("usernameMatch") ?? "exact";
  }

  /**
   * Keys the usernames anew where they are keyed by another setting.
   * @throws EmbeddedStoreError where two of them are one by this setting; nothing is changed then.
   */
  rekeyUsernames(path: string): void {
    if (this.#storedMatch() === this.#usernameMatch) return;
    const clashing = this.#root.transactionSync(() => {
      const owners = new Map<string, Buffer>();
      const clashing: string[] = [];
      for (const { key, value } of this.users.getRange()) {
        const name = digest(this.usernameKey(value.username)).toString("base64");
        const owner = owners.get(name);
        if (owner) clashing.push(`${this.users.get(owner)?.id.value ?? ""} and ${value.id.value}`);
        else owners.set(name, Buffer.from(key));
      }
      if (clashing.length > 0) return clashing;
      this.usernames.clearSync();
      for (const [name, key] of owners) void this.usernames.put(Buffer.from(name, "base64"), key);
      void this.meta.put("usernameMatch", this.#usernameMatch);
      return clashing;
    });
    if (clashing.length === 0) return;
    const listed = clashing.slice(0, clashesListedMax).join("; ");
    throw new EmbeddedStoreError(
      `${path} has users whose names are one by USERNAME_MATCH=${this.#usernameMatch}, ` +
        `${clashing.length} in all, rename them first. Their _id: ${listed}`,
    );
  }

  putUser(user: User): void {
    const key = digest(idKey(user.id));
    const { tokensValidAfter, ...rest } = user;
    void this.users.put(key, { ...rest, tokensValidAfter: tokensValidAfter?.toISOString() });
    void this.usernames.put(this.#nameKey(user.username), key);
  }

  removeUser(user: User): void {
    void this.users.remove(digest(idKey(user.id)));
    void this.usernames.remove(this.#nameKey(user.username));
  }
}

class EmbeddedUsers implements UserStore {
  readonly #file: StoreFile;

  constructor(file: StoreFile) {
    this.#file = file;
  }

  findByUsername(username: string): Promise<User | undefined> {
    return this.#file.read(() => this.#file.userByUsername(username));
  }

  findBySubject(subject: string): Promise<Account | undefined> {
    return this.#file.read(() => {
      let user: User | undefined;
      for (const id of userIdsOfSubject(subject)) {
        const found = this.#file.userById(id);
        if (found && user) return undefined;
        user ??= found;
      }
      if (user === undefined) return undefined;
      const { id, username, disabled, roles, tokensValidAfter } = user;
      return { id, username, disabled, roles, tokensValidAfter };
    });
  }

  async add(user: User): Promise<"added" | "id_taken" | "username_taken"> {
    return this.#file.write(() => {
      if (this.#file.userById(user.id)) return "id_taken";
      if (this.#file.userByUsername(user.username)) return "username_taken";
      this.#file.putUser(user);
      return "added";
    });
  }

  import(
    users: readonly User[],
    options: { onConflict: ImportConflict; replacedAt: Date; dryRun: boolean },
  ): Promise<ImportOutcome[]> {
    const plan = () => {
      const stored = users.flatMap((user) => [
        this.#file.userById(user.id) ?? [],
        this.#file.userByUsername(user.username) ?? [],
      ]);
      return planImport(users, stored.flat(), options, this.#file.usernameKey);
    };
    if (options.dryRun) return this.#file.read(() => plan().outcomes);
    return this.#file.write(() => {
      const { outcomes, writes } = plan();
      for (const { user } of writes) {
        const previous = this.#file.userById(user.id);
        // Its name may be written otherwise.
        if (previous) this.#file.removeUser(previous);
        this.#file.putUser(user);
      }
      return outcomes;
    });
  }

  update(id: UserId, change: UserChange): Promise<boolean> {
    return this.#change(id, (user) => this.#file.putUser({ ...user, ...change }));
  }

  async replacePasswordHash(id: UserId, oldHash: string, newHash: string): Promise<boolean> {
    return this.#file.write(() => {
      const user = this.#file.userById(id);
      if (user?.passwordHash !== oldHash) return false;
      this.#file.putUser({ ...user, passwordHash: newHash });
      return true;
    });
  }

  remove(id: UserId): Promise<boolean> {
    return this.#change(id, (user) => this.#file.removeUser(user));
  }

  existing(ids: readonly UserId[]): Promise<readonly UserId[]> {
    return this.#file.read(() => ids.filter((id) => this.#file.userById(id)));
  }

  sampleHashes(size: number): Promise<readonly string[]> {
    return this.#file.read(() =>
      Array.from({ length: size }).flatMap(() => {
        // The keys are digests, hence spread evenly.
        const [key] = this.#file.users.getKeys({ start: randomBytes(32), limit: 1 });
        return (key && this.#file.user(key)?.passwordHash) ?? [];
      }),
    );
  }

  async *list(): AsyncIterable<User> {
    // Pages of our own: one long read would keep LMDB from reusing any page freed meanwhile.
    let start = Buffer.alloc(1);
    for (;;) {
      const page = await this.#file.read(() =>
        [...this.#file.users.getKeys({ start, limit: listPageUsers })].map((key) => ({
          key: Buffer.from(key),
          user: this.#file.user(key),
        })),
      );
      for (const { user } of page) if (user) yield user;
      const last = page.at(-1);
      if (last === undefined) return;
      start = Buffer.concat([last.key, Buffer.alloc(1)]);
    }
  }

  #change(id: UserId, change: (user: User) => void): Promise<boolean> {
    return this.#file.write(() => {
      const user = this.#file.userById(id);
      if (user === undefined) return false;
      change(user);
      return true;
    });
  }
}

interface KeyRecord {
  readonly version: number;
  readonly document: string | undefined;
}

class EmbeddedKeys implements KeyStore {
  readonly #file: StoreFile;

  constructor(file: StoreFile) {
    this.#file = file;
  }

  load(): Promise<KeyRecord> {
    return this.#file.read(() => this.#stored());
  }

  save(document: string, expectedVersion: number): Promise<boolean> {
    return this.#file.write(() => {
      if (this.#stored().version !== expectedVersion) return false;
      void this.#file.meta.put("keys", { version: expectedVersion + 1, document });
      return true;
    });
  }

  #stored(): KeyRecord {
    const record = this.#file.meta.get("keys") as KeyRecord | undefined;
    return record ?? { version: 0, document: undefined };
  }
}
