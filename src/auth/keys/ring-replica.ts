/**
 * One replica's view of the key ring: what it last read, how old that is, and changes by
 * compare-and-set. Depends on the ring, errors and the store's port.
 */
import { AuthError } from "../errors.js";
import { freshnessMs, type Ring, type RingKey } from "./ring.js";
import type { KeyStore } from "./key-set.js";

export interface KeyClock {
  /** Milliseconds since the epoch; may be wrong and may jump. */
  now(): number;
  /** Milliseconds since any fixed moment of this process; never goes back. */
  monotonic(): number;
}

/**
 * The stored document is no key ring that we can read; it was not overwritten. For operators: exit
 * code 78.
 */
export class KeyRingError extends Error {
  override readonly name = "KeyRingError";
}

export interface RingReplicaOptions {
  readonly store: KeyStore;
  readonly clock: KeyClock;
  /** The ring of an empty store. */
  readonly empty: Ring;
  readonly intervalMs: number;
  /**
   * Called with every new ring, and with the one before if another process made the change. `load`
   * rejects with what this throws.
   */
  readonly onRing: (ring: Ring, changedElsewhere: Ring | undefined) => void;
}

interface Instant {
  readonly wall: number;
  readonly monotonic: number;
}

interface View {
  readonly ring: Ring;
  readonly document: string | undefined;
  readonly version: number;
  /** When the read began; the store may have changed since. */
  readonly askedAt: Instant;
}

const attemptsMax = 50;
/**
 * For this long after a failed load, callers that accept an older view skip the store. Longer than
 * a store's deadline plus the pause between two polls.
 */
const outageMs = 10_000;
/**
 * For this long a load is shared by all who ask. Later the server that was asked may be lost, and the next load finds
 * another one.
 */
const sharedMs = 250;

export class RingReplica {
  readonly #store: KeyStore;
  readonly #clock: KeyClock;
  readonly #empty: Ring;
  readonly #onRing: RingReplicaOptions["onRing"];
  readonly #holdMs: number;
  #view: View | undefined;
  #failedAt: Instant | undefined;
  #steadySince: Instant | undefined;
  #loading: { readonly view: Promise<View>; readonly askedAt: Instant } | undefined;
  /**
   * The document of this replica's last write. A load may return it before the write is confirmed.
   */
  #written: string | undefined;
  /** When its last write was confirmed, by the monotonic clock. */
  #wroteAt = -Infinity;

  constructor(options: RingReplicaOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#empty = options.empty;
    this.#onRing = options.onRing;
    this.#holdMs = Math.min(outageMs, options.intervalMs);
  }

  get ring(): Ring | undefined {
    return this.#view?.ring;
  }

  /** The view's age; infinite before the first load. */
  get ageMs(): number {
    return this.#view ? this.#since(this.#view.askedAt) : Infinity;
  }

  /**
   * False at first, and after a long outage of the store: a key may have been published just before
   * it, and the other replicas need time to see that key. So the first replica that is back must
   * not make it sign yet.
   */
  get steady(): boolean {
    return this.#steadySince !== undefined && this.#since(this.#steadySince) >= this.#holdMs;
  }

  /** @throws AuthError `store_unavailable`; KeyRingError; whatever `onRing` throws. */
  async load(): Promise<Ring> {
    return (await this.#load()).ring;
  }

  /**
   * Loads if the view is older, and tells whether it is young enough afterwards, since a load may
   * take long. Returns no promise when nothing has to be loaded, which is nearly always: a promise
   * costs the hot path a microtask.
   */
  freshen(ageMsMax = freshnessMs): true | Promise<boolean> {
    return this.ageMs <= ageMsMax || this.#freshen(ageMsMax);
  }

  async #freshen(ageMsMax: number): Promise<boolean> {
    for (let attempt = 0; attempt < 3 && this.ageMs > ageMsMax; attempt++) await this.#load();
    return this.ageMs <= ageMsMax;
  }

  /**
   * Like `freshen`, for callers that take an older view rather than wait for a store that is down.
   */
  tryFreshen(ageMsMax = freshnessMs): Promise<boolean> | undefined {
    if (this.#failedAt && this.#since(this.#failedAt) < outageMs) return undefined;
    const fresh = this.freshen(ageMsMax);
    return fresh === true ? undefined : fresh.catch(() => false);
  }

  /**
   * Reads, decides and writes, again and again until no other process wrote in between. Undefined
   * if `decide` changes nothing.
   *
   * @throws AuthError `store_unavailable`; the change may be written all the same.
   */
  async change(
    decide: (ring: Ring, now: number) => Ring | undefined,
  ): Promise<{ readonly before: Ring; readonly after: Ring } | undefined> {
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const view = await this.#load();
      const after = decide(view.ring, this.#clock.now());
      if (!after) return undefined;
      const document = JSON.stringify(after);
      const askedAt = this.#instant();
      this.#written = document;
      if (await this.#save(document, view.version)) {
        this.#wroteAt = this.#clock.monotonic();
        const written = { ring: after, document, version: view.version + 1, askedAt };
        if ((this.#view?.version ?? 0) < written.version) this.#adopt(written);
        return { before: view.ring, after };
      }
    }
    throw new AuthError("store_unavailable", "the key ring did not stop changing");
  }

  async #save(document: string, version: number): Promise<boolean> {
    try {
      return await this.#store.save(document, version);
    } catch (error) {
      // If it was written after all, a later load reports it as another replica's change.
      this.#written = undefined;
      throw error;
    }
  }

  #load(): Promise<View> {
    if (this.#loading && this.#since(this.#loading.askedAt) < sharedMs) return this.#loading.view;
    const askedAt = this.#instant();
    const view = this.#read(askedAt).finally(() => {
      if (this.#loading?.view === view) this.#loading = undefined;
    });
    this.#loading = { view, askedAt };
    return view;
  }

  async #read(askedAt: Instant): Promise<View> {
    try {
      const { version, document } = await this.#store.load();
      const last = this.#view;
      const decoded = () => (document === undefined ? this.#empty : decodeRing(document));
      const ring = last && last.document === document ? last.ring : decoded();
      const view = { ring, document, version, askedAt };
      if (this.ageMs > this.#holdMs) this.#steadySince = askedAt;
      if (!this.#isOutdated(view)) this.#adopt(view);
      this.#failedAt = undefined;
      return view;
    } catch (error) {
      const isOld = this.#view && askedAt.monotonic < this.#view.askedAt.monotonic;
      if (!isOld) this.#failedAt = this.#instant();
      throw error;
    }
  }

  /**
   * Whether an answer is older than the current view. Its version alone does not tell, since a
   * store may have been reset to a backup. But a lower version is older if its read began before
   * this replica's last write was confirmed.
   */
  #isOutdated({ askedAt, version }: View): boolean {
    const last = this.#view;
    if (!last) return false;
    const isFromBefore = version < last.version && askedAt.monotonic < this.#wroteAt;
    return isFromBefore || askedAt.monotonic < last.askedAt.monotonic;
  }

  #adopt(view: View): void {
    const last = this.#view;
    if (last?.ring !== view.ring) {
      this.#onRing(view.ring, view.document === this.#written ? undefined : last?.ring);
    }
    this.#view = view;
  }

  #instant(): Instant {
    return { wall: this.#clock.now(), monotonic: this.#clock.monotonic() };
  }

  /** The larger of the two: one clock may be set back, the other stops while the machine sleeps. */
  #since(instant: Instant): number {
    const { wall, monotonic } = this.#instant();
    return Math.max(wall - instant.wall, monotonic - instant.monotonic);
  }
}

const keyFields = {
  published: { readyAt: "number", privateKey: "string" },
  signing: { readyAt: "number", privateKey: "string", tokenSeconds: "number" },
  retired: { readyAt: "number" },
  trusted: {},
} as const satisfies Record<RingKey["state"], Record<string, string>>;

/** @throws KeyRingError */
function decodeRing(document: string): Ring {
  let ring: unknown;
  try {
    ring = JSON.parse(document);
  } catch {
    throw new KeyRingError("the stored signing keys are damaged: not JSON");
  }
  if (has(ring, { format: "number" }) && ring.format !== 1) {
    throw new KeyRingError("the stored signing keys are in a format of a newer version");
  }
  if (!isRing(ring)) throw new KeyRingError("the stored signing keys are damaged: not a key ring");
  return ring;
}

function isRing(value: unknown): value is Ring {
  return (
    has(value, { format: "number", cacheSeconds: "number", rotateRequested: "boolean" }) &&
    Array.isArray(value["keys"]) &&
    value["keys"].every(isRingKey) &&
    Array.isArray(value["revoked"]) &&
    value["revoked"].every((key) => has(key, { kid: "string", at: "number" }))
  );
}

function isRingKey(value: unknown): boolean {
  if (!has(value, { kid: "string", n: "string", e: "string", since: "number", state: "string" })) {
    return false;
  }
  const state = value["state"] as string;
  return Object.hasOwn(keyFields, state) && has(value, keyFields[state as RingKey["state"]]);
}

function has(
  value: unknown,
  fields: Readonly<Record<string, string>>,
): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  return Object.entries(fields).every(
    ([name, type]) => typeof (value as Record<string, unknown>)[name] === type,
  );
}
