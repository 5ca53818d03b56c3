/**
 * The one way to MongoDB: every call bounded in time, every error of the driver made one of ours.
 * Depends on mongodb and the domain's errors. The driver's own timeouts only tidy up after our
 * deadline: measured against a frozen server, none of them is certain to end a call.
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

/** The driver cannot make sense of the connection string. */
export class MongoStoreError extends Error {
  override readonly name = "MongoStoreError";
}

/** Runs something of the driver's: bounded in time, its errors made ours. */
export type MongoCall = <T>(work: () => Promise<T>) => Promise<T>;

/**
 * A write that is believed on proof alone. `work` resolves with whether it wrote; `isStored` tells whether
 * what it writes is what is stored, and is asked where an answer was lost.
 * @throws AuthError as `MongoCall`, also where it was written and no majority has confirmed it
 */
export type MongoWrite = (
  work: () => Promise<boolean>,
  isStored: () => Promise<boolean>,
) => Promise<boolean>;

/** What a cursor finds, page by page. `open` is called once the client is connected, which closes cursors. */
export type MongoPages = <T>(open: () => FindCursor<T>) => AsyncIterable<T[]>;

export interface MongoAccess {
  readonly call: MongoCall;
  readonly write: MongoWrite;
  readonly pages: MongoPages;
}

/** For reads that are to prove something: no later election takes back what they see. */
export const proven = { readConcern: { level: "majority" } } as const;

/** A client that outlives whatever becomes of the server. */
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
   * Runs `work`, which may still complete after the deadline. Where that is a long one, a server that
   * falls silent is not waited for until then.
   * @throws AuthError `store_unavailable`, or `internal` where the server refuses a document
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
    // It ends with an error in any case.
    silence.catch(() => undefined);
    try {
      return await Promise.race([work, silence]);
    } finally {
      settled.abort();
    }
  }

  /** @throws AuthError `store_unavailable` once the server does not answer, or the signal's reason. */
  async #untilSilent(signal: AbortSignal): Promise<never> {
    for (;;) {
      await sleep(silenceMs, undefined, { signal });
      await withDeadline(
        silenceMs,
        this.#attempt(() => this.db.command({ ping: 1 })),
      );
    }
  }

  /** What time it is at the primary. */
  now(): number {
    return this.#clock.now();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await withDeadline(this.#deadlineMs, this.#client.close()).catch(() => undefined);
  }

  async #attempt<T>(work: () => Promise<T>): Promise<T> {
    // The driver would connect again.
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

  /** A first connection that failed is final for the driver, until it is closed and told to connect. */
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
      // What stands in the way of a second attempt may be the work of the first one.
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

/** The failure of a write that may have been done. */
export function outcomeUnknown(failure: unknown): AuthError {
  const message = `${asAuthError(failure).message}; whether it was written is not known`;
  return storeUnavailable(message, failure);
}

/** Whoever waits longer for an answer need not wait longer for a server, or for one that is silent. */
const silenceMs = 5000;
/** Of the time for a call, what is left to say why no server was found. */
const reportMs = 500;

/** The options of the URI that we set ourselves, by name, with what they are set to. */
const ours: Readonly<Record<string, string>> = {
  w: "majority",
  readPreference: "primary",
};
const ourTimeouts = [
  ...["wtimeoutMS", "serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS"],
  ...["waitQueueTimeoutMS", "timeoutMS"],
];

/** What the URI asks for in vain, one sentence for each option. */
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

/** The packages that the driver wants for some options, and does not bring along. */
const packagesByMechanism: Readonly<Record<string, string>> = {
  "MONGODB-AWS": "@aws-sdk/credential-providers",
  GSSAPI: "kerberos",
};
const packagesByCompressor: Readonly<Record<string, string>> = {
  snappy: "snappy",
  zstd: "@mongodb-js/zstd",
};

/** @throws MongoStoreError where the URI asks for what needs a package that is not installed. */
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
        `MONGODB_URI asks for what needs the package ${name}, which is not installed: npm install ${name}`,
      );
    }
  }
}

/**
 * Writes are not retried by the driver: a server that does not recognise the second one as the same
 * would do it twice, or call what the first one wrote a conflict. `write` looks instead.
 */
function newClient(uri: string, deadlineMs: number): MongoClient {
  const connectMs = Math.max(Math.min(deadlineMs, silenceMs) - reportMs, deadlineMs / 2);
  try {
    const client = new MongoClient(uri, {
      appName: "latchkey",
      readPreference: "primary",
      writeConcern: { w: "majority", wtimeoutMS: deadlineMs },
      retryWrites: false,
      // A read that is tried again outlives socketTimeoutMS.
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
