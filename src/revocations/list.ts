/**
 * The published list of revocations: a JWT that any verifier can check with the key set. It reveals
 * no user to anyone who does not know the user's `sub`. Depends on auth's ports, its neighbour and
 * node:crypto.
 */
import { createHash, createHmac, sign } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { promisify } from "node:util";
import type { SigningKey } from "../auth/keys/keys.js";
import type { RevocationStore } from "./store.js";

export interface RevocationListOptions {
  readonly store: RevocationStore;
  readonly secret: () => Promise<Uint8Array>;
  readonly signingKey: () => Promise<SigningKey>;
  /** The `kid`s of the revoked keys. */
  readonly revokedKeyIds: () => readonly string[];
  readonly issuer: string;
  readonly now: () => number;
}

export interface PublishedRevocations {
  /** A JWT in compact serialization. */
  readonly body: string;
  /** A strong validator of the list's content, quoted. */
  readonly etag: string;
}

/** The `typ` of the list, so that no token is taken for a list and no list for a token. */
const type = "latchkey-revocations+jwt";
const entriesMax = 100_000;
/** Milliseconds for which an answer is given again without asking the store. */
const cachedMs = 1000;
/** Milliseconds after which the whole list is read again, even if its version is the same. */
const rereadMs = 60_000;
const lifeSeconds = 60;
const resignMs = 20_000;
const digestsPerTurn = 1000;
const signInput = promisify(sign);

interface Signed extends PublishedRevocations {
  readonly kid: string;
  readonly signedAtMs: number;
}

interface Read {
  readonly version: string;
  readonly atMs: number;
  readonly salt: string;
  readonly users: Readonly<Record<string, number>>;
  readonly isComplete: boolean;
}

export class RevocationList {
  readonly #options: RevocationListOptions;
  #read: Read | undefined;
  #signed: Signed | undefined;
  #checkedAtMs = -Infinity;
  #making: Promise<PublishedRevocations> | undefined;
  #digests = new Map<string, string>();

  constructor(options: RevocationListOptions) {
    this.#options = options;
  }

  /** The list, at most one second old. @throws AuthError `store_unavailable` */
  published(): Promise<PublishedRevocations> {
    if (this.#signed && isYounger(this.#checkedAtMs, this.#options.now(), cachedMs)) {
      return Promise.resolve(this.#signed);
    }
    this.#making ??= this.#make().finally(() => (this.#making = undefined));
    return this.#making;
  }

  async #make(): Promise<PublishedRevocations> {
    const { store, revokedKeyIds, now } = this.#options;
    const startMs = now();
    // Before the rest, since loading the key also tells which keys are revoked.
    const key = await this.#options.signingKey();
    const version = await store.version();
    const read = this.#read;
    if (read?.version !== version || !isYounger(read.atMs, startMs, rereadMs)) {
      this.#read = await this.#readWhole(version, startMs);
    }
    const { salt, users, isComplete } = this.#read as Read;
    const content = { salt, complete: isComplete, users, keys: revokedKeyIds() };
    const etag = `"${createHash("sha256").update(JSON.stringify(content)).digest("base64url")}"`;
    const { kid } = key;
    const signed = this.#signed;
    const isGood = signed?.etag === etag && signed.kid === kid;
    if (!isGood || !isYounger(signed.signedAtMs, startMs, resignMs)) {
      const body = await this.#sign(content, key, startMs);
      this.#signed = { etag, kid, signedAtMs: startMs, body };
    }
    this.#checkedAtMs = startMs;
    return this.#signed as Signed;
  }

  async #readWhole(version: string, atMs: number): Promise<Read> {
    const { store, secret } = this.#options;
    const list = await store.list(atMs, entriesMax + 1);
    const salt = createHmac("sha256", await secret())
      .update("revocations")
      .digest("base64url");
    const users: Record<string, number> = {};
    const digests = new Map<string, string>();
    for (const [index, { subject, atMs }] of list.slice(0, entriesMax).entries()) {
      if (index % digestsPerTurn === digestsPerTurn - 1) await nextTurn();
      const digest = this.#digests.get(subject) ?? digestOf(subject, salt);
      digests.set(subject, digest);
      users[digest] = Math.floor(atMs / 1000);
    }
    this.#digests = digests;
    return { version, atMs, salt, users, isComplete: list.length <= entriesMax };
  }

  async #sign(content: object, { kid, privateKey }: SigningKey, nowMs: number): Promise<string> {
    const { issuer } = this.#options;
    const iat = Math.floor(nowMs / 1000);
    const parts = [
      { typ: type, alg: "RS256", kid },
      { iss: issuer, iat, exp: iat + lifeSeconds, ...content },
    ];
    const input = parts
      .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
      .join(".");
    const signature = await signInput("sha256", Buffer.from(input), privateKey);
    return `${input}.${signature.toString("base64url")}`;
  }
}

/** Whether it is younger than `ms`; what lies ahead is not, since the clock was set back. */
const isYounger = (atMs: number, nowMs: number, ms: number) => atMs <= nowMs && nowMs < atMs + ms;

/** HMAC-SHA-256 with the salt's text as the key: its first 132 bits in base64url. */
const digestOf = (subject: string, salt: string) =>
  createHmac("sha256", salt).update(subject).digest("base64url").slice(0, 22);
