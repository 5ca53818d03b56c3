/**
 * The keys of one replica: the key set that it signs and verifies with, the transitions of the
 * managed keys that it carries out, and the operator's commands on them. Depends on its neighbours
 * in auth and node:crypto.
 */
import { createPrivateKey, type KeyObject } from "node:crypto";
import { AuthError } from "../errors.js";
import { keyEvents, type KeyEvent } from "./events.js";
import type { TrustedRsaKey } from "./files.js";
import {
  emptyRing,
  freshnessMs,
  importKey,
  isPublished,
  isRevoked,
  KeyOperationError,
  nextKeyOf,
  nextRing,
  nextStepOf,
  revoke,
  rotate,
  rotateNow,
  scheduleOf,
  signingKeyOf,
  wantsKey,
  type NewKey,
  type Ring,
  type RingKey,
  type RingKeyState,
  type RotationPolicy,
} from "./ring.js";
import { createKeySealer, type KeySealer } from "./sealing.js";
import {
  listingOf,
  publishedDocumentOf,
  verificationKeysOf,
  type FileKeys,
  type KeyListing,
} from "./view.js";
import type { KeySet, KeyStore, PublishedKeySet, SigningKey, VerificationKey } from "./key-set.js";
import { RingReplica, type KeyClock } from "./ring-replica.js";
import type { RsaPrivateKey } from "./rsa.js";

export interface ManagedKeysOptions {
  readonly store: KeyStore;
  readonly clock: KeyClock;
  /** `KEY_ROTATION_INTERVAL`. */
  readonly intervalSeconds: number;
  /** How long a token may be accepted: `TOKEN_TTL` plus `TOKEN_LEEWAY`. */
  readonly tokenSeconds: number;
  /** 32 bytes each. The first one seals; empty to store private keys in the clear. */
  readonly encryptionKeys: readonly Uint8Array[];
  readonly generateKey: () => Promise<RsaPrivateKey>;
  /** The key of `SIGNING_KEY_FILE`. It signs, and the managed keys run out. */
  readonly signingFileKey?: RsaPrivateKey | undefined;
  /** The keys of `TRUSTED_KEYS_FILE`. */
  readonly trustedFileKeys?: readonly TrustedRsaKey[];
  readonly onEvent?: (event: KeyEvent) => void;
}

/**
 * Which key signs after a change, and what verifiers do meanwhile if they keep to the key set's
 * `max-age`. Many libraries do not: docs/verifiers.md.
 */
export interface SigningChange {
  readonly signingKid: string | undefined;
  /** How long verifiers may hold a key set without the new key, and refuse its tokens. */
  readonly unknownForSeconds: number;
  /** How long verifiers may hold a key set with the revoked key, and accept its tokens. */
  readonly acceptedForSeconds: number;
}

export type KeyImportRequest =
  | {
      readonly key: RsaPrivateKey;
      /** Whether it signs, as soon as every verifier can know it. */
      readonly sign: boolean;
      /** How long its tokens are accepted if it does not sign; absent: until it is revoked. */
      readonly keepSeconds?: number;
    }
  | { readonly trusted: TrustedRsaKey };

const unknownKidAgeMs = 100;

export class ManagedKeys implements KeySet {
  readonly #options: ManagedKeysOptions;
  readonly #files: FileKeys;
  readonly #sealer: KeySealer;
  readonly #replica: RingReplica;
  #privateKeys: ReadonlyMap<string, KeyObject> = new Map();
  #verificationKeys: readonly VerificationKey[] = [];
  #document: Pick<PublishedKeySet, "body" | "etag"> | undefined;
  /** Generated and not yet in the ring. Kept if another replica's key was taken. */
  #spare: NewKey | undefined;
  #resealed = false;
  #failing = false;
  #refreshing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #polling = false;

  constructor(options: ManagedKeysOptions) {
    const { store, clock, intervalSeconds } = options;
    this.#options = options;
    this.#files = { signing: options.signingFileKey, trusted: options.trustedFileKeys ?? [] };
    this.#sealer = createKeySealer(options.encryptionKeys);
    this.#replica = new RingReplica({
      ...{ store, clock, intervalMs: intervalSeconds * 1000 },
      ...{ empty: emptyRing({ intervalSeconds }), onRing: this.#adopt.bind(this) },
    });
    this.#index(undefined);
  }

  async signingKey(): Promise<SigningKey> {
    const file = this.#options.signingFileKey;
    if (file) {
      await this.#replica.tryFreshen();
      if (!isRevoked(this.#replica.ring, file)) return file;
      throw new AuthError("internal", "the key of SIGNING_KEY_FILE is revoked");
    }
    for (const attempt of [1, 2]) {
      if (!(await this.#replica.freshen()))
        throw unavailable("the key ring takes too long to load");
      const key = this.#signingKey();
      if (key) return key;
      if (attempt === 1) await this.refresh();
    }
    throw unavailable("no key signs");
  }

  async verificationKeys(kid: string | undefined): Promise<readonly VerificationKey[]> {
    const fits = (key: VerificationKey) => (kid === undefined ? key.legacy : key.kid === kid);
    await this.#replica.tryFreshen();
    if (kid !== undefined && !this.#verificationKeys.some(fits)) {
      // Another replica may have begun to sign with a key that was never published before.
      await this.#replica.tryFreshen(unknownKidAgeMs);
    }
    const found = this.#verificationKeys.filter(fits);
    if (found.length === 0 && this.#replica.ageMs > freshnessMs)
      throw unavailable("the key ring cannot be loaded, so the key may be a new one");
    return found;
  }

  async published(): Promise<PublishedKeySet | undefined> {
    await this.#replica.tryFreshen();
    if (!this.#document) return undefined;
    const schedule = scheduleOf(this.#policy);
    // A key that this replica has not seen signs only after the caches of the replica's view have
    // run out. So the cache time shrinks with the age of that view.
    const lateSeconds = Math.max(0, this.#replica.ageMs - freshnessMs) / 1000;
    const seconds = Math.max(0, (this.#replica.ring?.cacheSeconds ?? 0) - lateSeconds);
    const maxAgeSeconds = Math.floor(Math.min(schedule.maxAgeSeconds, seconds));
    const staleIfErrorSeconds = Math.floor(
      Math.min(schedule.staleIfErrorSeconds, seconds - maxAgeSeconds),
    );
    const { body, etag } = this.#document;
    return { body, etag, maxAgeSeconds, staleIfErrorSeconds };
  }

  /**
   * Loads the ring and carries out what is due. Called before the first request, then by `start`.
   *
   * @throws AuthError `store_unavailable`; for operators KeyEncryptionError and KeyRingError.
   */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = undefined));
    return this.#refreshing;
  }

  /** Refreshes at this interval, well within a second so that no request waits for the store. */
  start(intervalMs = 500): void {
    this.#polling = true;
    this.#timer = setTimeout(() => {
      void this.refresh()
        .catch(() => undefined)
        .then(() => {
          if (this.#polling) this.start(intervalMs);
        });
    }, intervalMs).unref();
  }

  async stop(): Promise<void> {
    this.#polling = false;
    clearTimeout(this.#timer);
    await this.#refreshing?.catch(() => undefined);
  }

  /** From memory: how many keys have each state, and when the next of them changes its state. */
  status(): { keys: Record<RingKeyState, number>; secondsUntilNextStep: number | undefined } {
    const keys = { published: 0, signing: 0, retired: 0, trusted: 0 };
    const ring = this.#replica.ring;
    const steps: number[] = [];
    for (const key of ring?.keys ?? []) {
      keys[key.state]++;
      const step = ring && nextStepOf(ring, key, this.#policy);
      if (step) steps.push(step.at);
    }
    const waitMs = Math.min(...steps) - this.#options.clock.now();
    const secondsUntilNextStep = steps.length > 0 ? Math.max(0, waitMs / 1000) : undefined;
    return { keys, secondsUntilNextStep };
  }

  /** From memory: the revoked keys, for as long as their tokens could still be valid. */
  revokedKeyIds(): readonly string[] {
    const { tokenSeconds, clock } = this.#options;
    const since = clock.now() - tokenSeconds * 1000;
    return (this.#replica.ring?.revoked ?? []).flatMap(({ kid, at }) => (at > since ? kid : []));
  }

  /** From memory: the last known `list`; empty before the store has answered. */
  known(): KeyListing[] {
    const { ring } = this.#replica;
    return ring === undefined ? [] : listingOf(ring, this.#files, this.#policy);
  }

  /** Every key, also those of files and revoked ones. */
  async list(): Promise<KeyListing[]> {
    return listingOf(await this.#replica.load(), this.#files, this.#policy);
  }

  /**
   * Makes the next key sign as soon as every verifier can know it; `at` says when.
   *
   * @throws KeyOperationError `key_file_signs`
   */
  async rotate(): Promise<{ readonly signingKid: string | undefined; readonly at: Date }> {
    this.#refuseWithKeyFile();
    await this.#fillSpare();
    let at = 0;
    const ring = await this.#change((ring, now) => {
      at = now;
      return rotate(ring, now, this.#policy, this.#spare);
    });
    const next = ring.rotateRequested ? nextKeyOf(ring) : undefined;
    const step = next && nextStepOf(ring, next, this.#policy);
    return {
      signingKid: (next ?? signingKeyOf(ring))?.kid,
      at: new Date(Math.max(at, step?.at ?? 0)),
    };
  }

  /** Makes the next key sign at once. @throws KeyOperationError `key_file_signs` */
  async rotateNow(): Promise<SigningChange> {
    this.#refuseWithKeyFile();
    const spare = await this.#fillSpare();
    return this.#changeSigning((ring, now) => rotateNow(ring, now, this.#policy, spare));
  }

  /**
   * Revokes a key: a second later no replica accepts it or signs with it. If it was the signing
   * key, the next one signs at once.
   *
   * @throws KeyOperationError `unknown_key`
   */
  async revoke(kid: string): Promise<SigningChange> {
    const spare = this.#policy.rotates ? { spare: await this.#fillSpare() } : {};
    const { signing, trusted } = this.#files;
    const fileKeys = signing ? [signing, ...trusted] : trusted;
    return this.#changeSigning((ring, now) =>
      revoke(ring, kid, now, this.#policy, { ...spare, fileKeys }),
    );
  }

  /** Adds a key of an old server. @throws KeyOperationError, see {@link importKey} */
  async import(request: KeyImportRequest): Promise<void> {
    const { kid, n, e } = "key" in request ? request.key : request.trusted;
    if ("trusted" in request) {
      const { issuer } = request.trusted;
      const limit = issuer === undefined ? {} : { issuer };
      const key = { kind: "trusted", kid, n, e, ...limit } as const;
      await this.#change((ring, now) => importKey(ring, key, now, this.#policy));
      return;
    }
    const { key: privateKey, ...how } = request;
    const key = { kind: "private", ...this.#seal(privateKey), ...how } as const;
    await this.#change((ring, now) => importKey(ring, key, now, this.#policy));
  }

  get #policy(): RotationPolicy {
    const { intervalSeconds, tokenSeconds, signingFileKey } = this.#options;
    const holds = !this.#replica.steady;
    return { intervalSeconds, tokenSeconds, rotates: signingFileKey === undefined, holds };
  }

  async #refresh(): Promise<void> {
    try {
      await this.#advance();
      if (this.#failing) this.#emit({ type: "refresh_recovered" });
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) this.#emit({ type: "refresh_failed", error });
      this.#failing = true;
      throw error;
    }
  }

  async #advance(): Promise<void> {
    const ring = await this.#replica.load();
    const due = nextRing(ring, this.#options.clock.now(), this.#policy);
    if (wantsKey(due ?? ring, this.#policy)) await this.#fillSpare();
    // Once per process: while encryption keys are exchanged, replicas differ on which is the new
    // one.
    if (!this.#resealed && this.#policy.rotates) await this.#reseal();
    await this.#change((ring, now) => nextRing(ring, now, this.#policy, this.#spare));
  }

  async #reseal(): Promise<void> {
    const change = await this.#replica.change((ring) => {
      const keys = ring.keys.map((key) => this.#resealedKey(key));
      return keys.every((key, index) => key === ring.keys[index]) ? undefined : { ...ring, keys };
    });
    this.#resealed = true;
    if (change) this.#emit({ type: "keys_resealed" });
  }

  #resealedKey(key: RingKey): RingKey {
    if (!("privateKey" in key)) return key;
    const { pkcs8, current } = this.#sealer.open(key.kid, key.privateKey);
    return current ? key : { ...key, privateKey: this.#sealer.seal(key.kid, pkcs8) };
  }

  async #change(decide: (ring: Ring, now: number) => Ring | undefined): Promise<Ring> {
    const change = await this.#replica.change(decide);
    if (!change) return this.#replica.ring ?? emptyRing(this.#policy);
    for (const event of keyEvents(change.before, change.after)) this.#emit(event);
    return change.after;
  }

  async #changeSigning(
    decide: (ring: Ring, now: number) => Ring | undefined,
  ): Promise<SigningChange> {
    let before: Ring | undefined;
    let at = 0;
    const after = await this.#change((ring, now) => {
      before = ring;
      at = now;
      return decide(ring, now);
    });
    const { signing: file } = this.#files;
    const signing = file ? undefined : signingKeyOf(after);
    const known = before?.keys.find((key) => key.kid === signing?.kid);
    const publishedSeconds = known?.state === "published" ? (at - known.since) / 1000 : 0;
    const unchanged = signing === undefined || known?.state === "signing";
    const { maxAgeSeconds } = scheduleOf(this.#policy);
    const publishedBefore = [...(before?.keys ?? []).filter(isPublished), ...(file ? [file] : [])];
    const hasRevoked = publishedBefore.some(
      (key) => isRevoked(after, key) && !isRevoked(before, key),
    );
    return {
      signingKid: file && !isRevoked(after, file) ? file.kid : signing?.kid,
      unknownForSeconds: unchanged ? 0 : Math.max(0, Math.ceil(maxAgeSeconds - publishedSeconds)),
      acceptedForSeconds: hasRevoked ? maxAgeSeconds : 0,
    };
  }

  async #fillSpare(): Promise<NewKey> {
    if (!this.#spare) {
      this.#spare = this.#seal(await this.#options.generateKey());
      this.#emit({ type: "key_generated", kid: this.#spare.kid });
    }
    return this.#spare;
  }

  #seal({ kid, n, e, privateKey }: RsaPrivateKey): NewKey {
    const pkcs8 = privateKey.export({ type: "pkcs8", format: "der" });
    return { kid, n, e, privateKey: this.#sealer.seal(kid, pkcs8) };
  }

  #refuseWithKeyFile(): void {
    if (this.#policy.rotates) return;
    throw new KeyOperationError("key_file_signs", "the key of SIGNING_KEY_FILE signs");
  }

  #adopt(ring: Ring, changedElsewhere: Ring | undefined): void {
    this.#privateKeys = this.#open(ring);
    if (ring.keys.some((key) => key.kid === this.#spare?.kid)) this.#spare = undefined;
    this.#index(ring);
    if (!changedElsewhere) return;
    for (const event of keyEvents(changedElsewhere, ring))
      this.#emit({ ...event, elsewhere: true });
  }

  /** Keys that are open already are not opened again, whatever they are sealed with now. */
  #open(ring: Ring): Map<string, KeyObject> {
    const opened = new Map<string, KeyObject>();
    if (!this.#policy.rotates) return opened;
    for (const key of ring.keys) {
      if (!("privateKey" in key)) continue;
      try {
        opened.set(key.kid, this.#privateKeys.get(key.kid) ?? this.#openKey(key));
      } catch (error) {
        if (this.#privateKeys.size === 0) throw error;
        this.#emit({ type: "key_unreadable", kid: key.kid, error });
      }
    }
    return opened;
  }

  #openKey({ kid, privateKey }: { kid: string; privateKey: string }): KeyObject {
    const { pkcs8 } = this.#sealer.open(kid, privateKey);
    return createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
  }

  #index(ring: Ring | undefined): void {
    this.#verificationKeys = verificationKeysOf(ring, this.#files);
    // A set without the key that signs next would be cached, so none is published before a key
    // signs.
    const signing = this.#files.signing ?? (ring && signingKeyOf(ring));
    this.#document = signing && publishedDocumentOf(ring, this.#files);
  }

  #signingKey(): SigningKey | undefined {
    const key = this.#replica.ring && signingKeyOf(this.#replica.ring);
    const privateKey = key && this.#privateKeys.get(key.kid);
    // The ring must state how long our tokens live before one is signed, or the key leaves too
    // early.
    if (!privateKey || key.tokenSeconds < this.#policy.tokenSeconds) return undefined;
    return { kid: key.kid, privateKey };
  }

  #emit(event: KeyEvent): void {
    this.#options.onEvent?.(event);
  }
}

const unavailable = (message: string) =>
  new AuthError("store_unavailable", message, { retryAfterSeconds: 1 });
