/**
 * The one way to MongoDB: every call bounded in time, every error of the driver made one of ours.
 * Depends on mongodb and the domain's errors. The driver's own timeouts only tidy up after our
 * deadline: measured against a frozen server, none of them is certain to end a call.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { MongoClient, MongoError, MongoServerError, MongoServerSelectionError } from "mongodb";
import type { Db } from "mongodb";
import { AuthError } from "../../auth/errors.js";
import { storeUnavailable, withDeadline } from "../unavailable.js";

/** The driver cannot make sense of the connection string. */
export class MongoStoreError extends Error {
  override readonly name = "MongoStoreError";
}

/** Runs something of the driver's: bounded in time, its errors made ours. */
export type MongoCall = <T>(work: () => Promise<T>) => Promise<T>;

/** A client that outlives whatever becomes of the server. */
export class MongoConnection {
  readonly db: Db;
  readonly #client: MongoClient;
  readonly #deadlineMs: number;
  #connected: Promise<void> | undefined;
  #isClosed = false;

  /** @throws MongoStoreError */
  constructor(uri: string, deadlineMs: number) {
    this.#client = newClient(uri, deadlineMs);
    this.#deadlineMs = deadlineMs;
    this.db = this.#client.db();
  }

  /**
   * Runs `work`, which may still complete after the deadline. Where that is a long one, a server that
   * falls silent is not waited for until then.
   * @throws AuthError `store_unavailable`, or `internal` where the server refuses a document
   */
  call<T>(work: () => Promise<T>): Promise<T> {
    const attempt = withDeadline(this.#deadlineMs, this.#attempt(work));
    return this.#deadlineMs > silenceMs ? this.#whileAnswering(attempt) : attempt;
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
      if (hasNoServers(error) && this.#connected === connected) this.#connected = undefined;
      throw translate(error);
    }
  }

  /** A first connection that failed is final for the driver, until it is closed and told to connect. */
  async #connect(): Promise<void> {
    try {
      await this.#client.close();
      await this.#client.connect();
    } catch (error) {
      this.#connected = undefined;
      throw error;
    }
    if (this.#isClosed) await this.#client.close();
  }
}

/** Whoever waits longer for an answer need not wait longer for a server, or for one that is silent. */
const silenceMs = 5000;

function newClient(uri: string, deadlineMs: number): MongoClient {
  const connectMs = Math.min(deadlineMs, silenceMs);
  try {
    return new MongoClient(uri, {
      appName: "latchkey",
      readPreference: "primary",
      writeConcern: { w: "majority", wtimeoutMS: deadlineMs },
      // A read that is tried again outlives socketTimeoutMS.
      retryReads: false,
      serverSelectionTimeoutMS: connectMs,
      connectTimeoutMS: connectMs,
      socketTimeoutMS: deadlineMs,
      waitQueueTimeoutMS: deadlineMs,
    });
  } catch (error) {
    throw new MongoStoreError(`MONGODB_URI cannot be used: ${(error as Error).message}`);
  }
}

/**
 * The driver strikes a server off that shows up, if only for a moment while it starts or stops, as one
 * of another replica set or of none; with the last one gone it never looks for one again.
 */
function hasNoServers(error: unknown): boolean {
  return error instanceof MongoServerSelectionError && error.reason?.servers.size === 0;
}

/** Server errors that say something about the document and nothing about the server. */
const documentFaults: unknown[] = [66, 121, 10_334, 11_000, 17_280];

function translate(error: unknown): unknown {
  if (error instanceof MongoServerError && documentFaults.includes(error.code)) {
    return new AuthError("internal", `MongoDB refused a document: ${error.codeName ?? ""}`, {
      cause: error,
    });
  }
  // Name resolution and certificate files fail with errors of the system.
  const isSystem = error instanceof Error && "syscall" in error;
  return error instanceof MongoError || isSystem
    ? storeUnavailable("MongoDB does not answer", error)
    : error;
}
