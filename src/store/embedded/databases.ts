/** The databases in the file. All access goes through `read` and `write`. Depends on lmdb. */
import { hash, randomBytes } from "node:crypto";
import type { Database, RootDatabase } from "lmdb";
import type { StoredAuditEntry } from "../../auth/audit.js";
import { usernameKeyOf, type UsernameKey, type UsernameMatch } from "../../auth/usernames.js";
import type { User, UserId } from "../../auth/users.js";
import { idKey } from "../import-plan.js";
import { storeUnavailable, withDeadline } from "../unavailable.js";
import type { ThrottleDocument } from "../../auth/throttle/throttle.js";

const clashesListedMax = 20;

/** The file cannot be used. Nothing was written to it; the message names it. */
export class EmbeddedStoreError extends Error {
  override readonly name = "EmbeddedStoreError";
}

/** A throttle document as stored. */
export interface StoredDocument extends ThrottleDocument {
  readonly version: string;
}

/** The key of an index by time of expiry, in which order documents are removed. */
type Expiry = [expiresAtMs: number, key: string];

interface ThrottleDatabases {
  readonly documents: Database<StoredDocument, string>;
  readonly expiries: Database<true, Expiry>;
  /** The expiries of the disposable documents; its size is their number. */
  readonly disposable: Database<true, Expiry>;
}

function openThrottleDatabases(root: RootDatabase): ThrottleDatabases {
  return {
    documents: root.openDB("throttle", { encoding: "json" }),
    expiries: root.openDB("throttle-expiries", { encoding: "json" }),
    disposable: root.openDB("throttle-disposable", { encoding: "json" }),
  };
}

/** A user as stored: as JSON. */
type UserRecord = Omit<User, "tokensValidAfter"> & {
  readonly tokensValidAfter: string | undefined;
};

/** The key of a text: its digest, because LMDB limits the length of keys. */
const digest = (text: string) =>
  // Through a string, because allocating the buffer that node:crypto returns costs twice as much as the digest.
  Buffer.from(hash("sha256", Buffer.from(text, "utf16le"), "base64"), "base64");

/** The open file of the embedded store. */
export class StoreFile {
  readonly meta: Database<unknown, string>;
  /** By digest of the `idKey`. */
  readonly users: Database<UserRecord, Buffer>;
  /** The key in `users`, by digest of the username. */
  readonly usernames: Database<Buffer, Buffer>;
  readonly throttle: ThrottleDatabases;
  /** By id. */
  readonly audit: Database<Omit<StoredAuditEntry, "id">, string>;
  readonly #root: RootDatabase;
  readonly usernameKey: UsernameKey;
  readonly #usernameMatch: UsernameMatch;
  readonly #deadlineMs: number;
  readonly #writeFault: () => string | undefined;

  /** @param writeFault why nothing can be written: the file was deleted, or the disk is full */
  constructor(
    root: RootDatabase,
    deadlineMs: number,
    usernameMatch: UsernameMatch,
    writeFault: () => string | undefined,
  ) {
    this.#writeFault = writeFault;
    this.#root = root;
    this.#deadlineMs = deadlineMs;
    this.#usernameMatch = usernameMatch;
    this.usernameKey = usernameKeyOf(usernameMatch);
    this.meta = root.openDB("meta", { encoding: "json" });
    this.users = root.openDB("users", { encoding: "json", keyEncoding: "binary" });
    this.usernames = root.openDB("usernames", { encoding: "binary", keyEncoding: "binary" });
    this.throttle = openThrottleDatabases(root);
    this.audit = root.openDB("audit", { encoding: "json" });
  }

  /** Opens another database, with binary keys; creates it if it does not exist. */
  openDatabase<T>(name: string): Database<T, Buffer> {
    return this.#root.openDB<T, Buffer>(name, { encoding: "json", keyEncoding: "binary" });
  }

  /** The binary key of a text of any length. */
  keyOf(text: string): Buffer {
    return digest(text);
  }

  /** Runs `work`, which reads. @throws AuthError `store_unavailable` in place of any error of `work` */
  read<T>(work: () => T): Promise<T> {
    try {
      // Without this, writes of other processes in this turn of the event loop would not be seen.
      this.#root.resetReadTxn();
      return Promise.resolve(work());
    } catch (error) {
      return Promise.reject(storeUnavailable("the embedded store cannot be read", error));
    }
  }

  /**
   * Runs `work` in a transaction, which is rolled back if `work` throws. Resolves once it is on disk.
   * @throws AuthError `store_unavailable`
   */
  write<T>(work: () => T): Promise<T> {
    return withDeadline(this.#deadlineMs, this.#transact(work));
  }

  /** Resolves if the file exists and can be written. Writes nothing but a random value of its own. */
  probe(): Promise<void> {
    return this.write(() => void this.meta.put("probe", randomBytes(8).toString("base64")));
  }

  isEmpty(): boolean {
    for (const _ of this.users.getKeys({ limit: 1 })) return false;
    return true;
  }

  async #transact<T>(work: () => T): Promise<T> {
    const fault = this.#writeFault();
    if (fault !== undefined) throw storeUnavailable(fault);
    try {
      return await this.#root.childTransaction(work);
    } catch (error) {
      const { commitError } = error as { commitError?: Promise<never> };
      const cause: unknown = await (commitError?.catch((reason: unknown) => reason) ?? error);
      throw storeUnavailable("the embedded store cannot be written", cause);
    }
  }

  async secret(mayCreate: boolean): Promise<Uint8Array> {
    const stored = await this.read(() => this.meta.get("secret"));
    if (typeof stored === "string") return Buffer.from(stored, "base64");
    // A process that may not write stores nothing that depends on the secret, so any bytes do.
    if (!mayCreate) return randomBytes(32);
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

  /** @throws Error if another process has indexed the usernames by another `USERNAME_MATCH` */
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
   * Indexes the usernames again if they are indexed by another `USERNAME_MATCH`.
   * @throws EmbeddedStoreError if two of them are the same by this setting; then nothing is changed
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
      `${path} has ${clashing.length} pairs of users whose names are the same by ` +
        `USERNAME_MATCH=${this.#usernameMatch}: rename one of each first. Their _id: ${listed}`,
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
