/**
 * The published list of revocations: a JWT that any verifier can check with the key set and that names
 * nobody to whom the user's `sub` is not known. Depends on auth's ports, its neighbour and node:crypto.
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
  /** A strong validator of what the list says, quoted. */
  readonly etag: string;
}

/** The `typ` of the list, so that no token passes for a list and no list for a token. */
const type = "latchkey-revocations+jwt";
const entriesMax = 100_000;
/** How long an answer is given without a look at the store. */
const cachedMs = 1000;
/** After so long the list is read whole, whatever its version says. */
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

  /** Of at most one second's age. @throws AuthError `store_unavailable` */
  published(): Promise<PublishedRevocations> {
    if (this.#signed && this.#options.now() < this.#checkedAtMs + cachedMs) {
      return Promise.resolve(this.#signed);
    }
    this.#making ??= this.#make().finally(() => (this.#making = undefined));
    return this.#making;
  }

  async #make(): Promise<PublishedRevocations> {
    const { store, revokedKeyIds, now } = this.#options;
    const startMs = now();
    // First, since it also learns which keys are revoked.
    const key = await this.#options.signingKey();
    const version = await store.version();
    const read = this.#read;
    if (read?.version !== version || startMs >= read.atMs + rereadMs) {
      this.#read = await this.#readWhole(version, startMs);
    }
    const { salt, users, isComplete } = this.#read as Read;
    const content = { salt, complete: isComplete, users, keys: revokedKeyIds() };
    const etag = `"${createHash("sha256").update(JSON.stringify(content)).digest("base64url")}"`;
    const { kid } = key;
    const signed = this.#signed;
    const isGood = signed?.etag === etag && signed.kid === kid;
    if (!isGood || startMs >= signed.signedAtMs + resignMs) {
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

/** HMAC-SHA-256 under the salt's text, its first 132 bits in base64url. */
const digestOf = (subject: string, salt: string) =>
  createHmac("sha256", salt).update(subject).digest("base64url").slice(0, 22);
