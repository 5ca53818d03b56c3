/**
 * The connection to MongoDB: bounds every call in time and translates every error of the driver. Depends on
 * mongodb and the domain's errors. It has a deadline of its own, because with a frozen server, as measured, none of
 * the driver's timeouts is certain to end a call. They only free its sockets afterwards.
 */
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { MongoClient } from "mongodb";
import type { Db, FindCursor } from "mongodb";
import type { AuthError } from "../../auth/errors.js";
import { ServerClock } from "./server-clock.js";
import { storeUnavailable, withDeadline } from "../unavailable.js";
import {
  hasNoServers,
  isDocumentFault,
  isPassing,
  isUnconfirmed,
  translate,
  asAuthError,
} from "./failures.js";

/** The connection string cannot be used. */
export class MongoStoreError extends Error {
  override readonly name = "MongoStoreError";
}

/** Runs a call of the driver within the deadline. @throws AuthError in place of the driver's errors */
export type MongoCall = <T>(work: () => Promise<T>) => Promise<T>;

/**
 * Runs a write and resolves with whether it wrote. `work` writes, and resolves with the same; `isStored` reads
 * whether the written values are stored, and is called if the answer to `work` was lost.
 * @throws AuthError like `MongoCall`, and if no majority has confirmed the write
 */
export type MongoWrite = (
  work: () => Promise<boolean>,
  isStored: () => Promise<boolean>,
) => Promise<boolean>;

/** Reads a cursor page by page. `open` is called once the client is connected, since connecting closes cursors. */
export type MongoPages = <T>(open: () => FindCursor<T>) => AsyncIterable<T[]>;

export interface MongoAccess {
  readonly call: MongoCall;
  readonly write: MongoWrite;
  readonly pages: MongoPages;
}

/** Options of reads that prove a write: no later election can take back what they return. */
export const proven = { readConcern: { level: "majority" } } as const;

/** A client that connects again after any failure of the server. */
export class MongoConnection implements MongoAccess {
  readonly db: Db;
  readonly #client: MongoClient;
  readonly #clock: ServerClock;
  readonly #deadlineMs: number;
  #connected: Promise<void> | undefined;
  #hasFailed = false;
  #isClosed = false;

  /** @throws MongoStoreError */
  constructor(uri: string, deadlineMs: number) {
    this.#client = newClient(uri, deadlineMs);
    this.#clock = new ServerClock(this.#client);
    this.#deadlineMs = deadlineMs;
    this.db = this.#client.db();
  }

  /**
   * Runs `work`, which may still complete after the deadline. If the deadline is long, the call ends sooner
   * when the server stops answering.
   * @throws AuthError `store_unavailable`, or `internal` if the server refuses a document
   */
  readonly call: MongoCall = (work) => {
    const attempt = withDeadline(this.#deadlineMs, this.#attempt(work));
    return this.#deadlineMs > silenceMs ? this.#whileAnswering(attempt) : attempt;
  };

  readonly write: MongoWrite = (work, isStored) => this.call(() => prove(work, isStored));

  readonly pages: MongoPages = (open) => this.#pages(open);

  async *#pages<T>(open: () => FindCursor<T>): AsyncGenerator<T[]> {
    const cursor = await this.call(() => Promise.resolve(open()));
    const connected = this.#connected;
    try {
      for (;;) {
        const first = await this.call(() => cursor.next());
        if (this.#connected !== connected) throw storeUnavailable("MongoDB was lost on the way");
        if (first === null) return;
        yield [first, ...cursor.readBufferedDocuments()];
      }
    } finally {
      await this.call(() => cursor.close()).catch(() => undefined);
    }
  }

  async #whileAnswering<T>(work: Promise<T>): Promise<T> {
    const settled = new AbortController();
    const silence = this.#untilSilent(settled.signal);
    // It always rejects, if only with the abort below.
    silence.catch(() => undefined);
    try {
      return await Promise.race([work, silence]);
    } finally {
      settled.abort();
    }
  }

  /** @throws AuthError `store_unavailable` when the server stops answering; or the signal's reason */
  async #untilSilent(signal: AbortSignal): Promise<never> {
    for (;;) {
      await sleep(silenceMs, undefined, { signal });
      await withDeadline(
        silenceMs,
        this.#attempt(() => this.db.command({ ping: 1 })),
      );
    }
  }

  /** The primary's time, in milliseconds since 1970. */
  now(): number {
    return this.#clock.now();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await withDeadline(this.#deadlineMs, this.#client.close()).catch(() => undefined);
  }

  async #attempt<T>(work: () => Promise<T>): Promise<T> {
    // A closed client of the driver would connect again.
    if (this.#isClosed) throw storeUnavailable("the store is closed");
    const connected = (this.#connected ??= this.#connect());
    try {
      await connected;
      return await work();
    } catch (error) {
      if (hasNoServers(error) && this.#connected === connected) {
        this.#hasFailed = true;
        this.#connected = undefined;
      }
      throw translate(error);
    }
  }

  /** Connects. After a failed connection the driver must be closed before it connects again. */
  async #connect(): Promise<void> {
    try {
      if (this.#hasFailed) await this.#client.close();
      await this.#client.connect();
    } catch (error) {
      this.#hasFailed = true;
      this.#connected = undefined;
      throw error;
    }
    if (this.#isClosed) await this.#client.close();
  }
}

async function prove(
  work: () => Promise<boolean>,
  isStored: () => Promise<boolean>,
): Promise<boolean> {
  let failure: unknown;
  for (let attempt = 1; attempt <= 2; attempt++) {
    try {
      const wrote = await work();
      // The second attempt may have found what the first one wrote.
      return wrote || (failure !== undefined && (await isStored()));
    } catch (error) {
      if (isDocumentFault(error)) throw error;
      failure = error;
      if (!isPassing(error)) break;
    }
  }
  const stored = await isStored().catch(() => undefined);
  if (stored && !isUnconfirmed(failure)) return true;
  if (stored === undefined) throw outcomeUnknown(failure);
  throw failure;
}

/** The error of a write that may have been done. */
export function outcomeUnknown(failure: unknown): AuthError {
  const message = `${asAuthError(failure).message}; whether it was written is not known`;
  return storeUnavailable(message, failure);
}

/** How long to wait for a server to be found, or to answer a ping, even if the deadline is longer. */
const silenceMs = 5000;
/** The part of a call's time that is kept to report why no server was found. */
const reportMs = 500;

/** Options of the URI that Latchkey sets itself, with their values. */
const ours: Readonly<Record<string, string>> = {
  w: "majority",
  readPreference: "primary",
};
const ourTimeouts = [
  ...["wtimeoutMS", "serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS"],
  ...["waitQueueTimeoutMS", "timeoutMS"],
];

/** One sentence for each option of the URI that has no effect. */
export function overriddenOptions(uri: string): string[] {
  const query = new URLSearchParams(uri.slice(uri.indexOf("?") + 1 || uri.length));
  return Array.from(query, ([name, value]) => {
    const isNamed = (other: string) => other.toLowerCase() === name.toLowerCase();
    const option = Object.keys(ours).find(isNamed);
    if (option !== undefined && value !== ours[option]) {
      return `the option ${option} of MONGODB_URI has no effect: Latchkey uses ${ours[option] ?? ""}`;
    }
    const timeout = ourTimeouts.find(isNamed);
    return timeout === undefined
      ? ""
      : `the option ${timeout} of MONGODB_URI has no effect: Latchkey bounds every call itself`;
  }).filter((sentence) => sentence !== "");
}

/** Packages that the driver needs for some options and does not depend on. */
const packagesByMechanism: Readonly<Record<string, string>> = {
  "MONGODB-AWS": "@aws-sdk/credential-providers",
  GSSAPI: "kerberos",
};
const packagesByCompressor: Readonly<Record<string, string>> = {
  snappy: "snappy",
  zstd: "@mongodb-js/zstd",
};

/** @throws MongoStoreError if an option of the URI needs a package that is not installed */
function checkPackages({ options }: MongoClient): void {
  const { credentials, compressors } = options;
  const required = createRequire(import.meta.url);
  const names = [
    packagesByMechanism[credentials?.mechanism ?? ""],
    ...[compressors].flat().map((compressor) => packagesByCompressor[compressor]),
    ...(options.proxyHost === undefined ? [] : ["socks"]),
  ];
  for (const name of names) {
    if (name === undefined) continue;
    try {
      required.resolve(name);
    } catch {
      throw new MongoStoreError(
        `MONGODB_URI has an option that needs the package ${name}, which is not installed: npm install ${name}`,
      );
    }
  }
}

/**
 * The driver's retries of writes are off: a server that does not recognise a retry would write twice, or
 * report the first write as a conflict. `write` reads what is stored instead.
 */
function newClient(uri: string, deadlineMs: number): MongoClient {
  const connectMs = Math.max(Math.min(deadlineMs, silenceMs) - reportMs, deadlineMs / 2);
  try {
    const client = new MongoClient(uri, {
      appName: "latchkey",
      readPreference: "primary",
      writeConcern: { w: "majority", wtimeoutMS: deadlineMs },
      retryWrites: false,
      // A retried read lasts longer than socketTimeoutMS.
      retryReads: false,
      serverSelectionTimeoutMS: Math.min(connectMs, silenceMs),
      connectTimeoutMS: Math.min(connectMs, silenceMs),
      socketTimeoutMS: deadlineMs,
      waitQueueTimeoutMS: deadlineMs,
    });
    checkPackages(client);
    return client;
  } catch (error) {
    if (error instanceof MongoStoreError) throw error;
    throw new MongoStoreError(`MONGODB_URI cannot be used: ${(error as Error).message}`);
  }
}
