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

/** What is stored is no key ring of ours. For the operator: exit code 78; nothing was overwritten. */
export class KeyRingError extends Error {
  override readonly name = "KeyRingError";
}

export interface RingReplicaOptions {
  readonly store: KeyStore;
  readonly clock: KeyClock;
  /** What an empty store stands for. */
  readonly empty: Ring;
  readonly intervalMs: number;
  /**
   * Sees every ring that was not the last one, and that one where another process changed it; what it
   * throws, `load` rejects with.
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
  /** When the question was asked; the answer may have changed since. */
  readonly askedAt: Instant;
}

const attemptsMax = 50;
/**
 * After a failure, for so long nobody waits for the store who can do without. Longer than a store's
 * deadline and the pause between two polls together.
 */
const outageMs = 10_000;

export class RingReplica {
  readonly #store: KeyStore;
  readonly #clock: KeyClock;
  readonly #empty: Ring;
  readonly #onRing: RingReplicaOptions["onRing"];
  readonly #holdMs: number;
  #view: View | undefined;
  #failedAt: Instant | undefined;
  #steadySince: Instant | undefined;
  #loading: Promise<View> | undefined;
  /** What this replica wrote last; a load may see it before the answer to the write is there. */
  #written: string | undefined;
  /** When the answer to its last write came, by the monotonic clock. */
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

  /** How old the view is; infinite before the first. */
  get ageMs(): number {
    return this.#view ? this.#since(this.#view.askedAt) : Infinity;
  }

  /**
   * False at first and when the store was out of reach for long: after an outage the others need time
   * to see a key that was published just before it, so the first one back must not have it sign.
   */
  get steady(): boolean {
    return this.#steadySince !== undefined && this.#since(this.#steadySince) >= this.#holdMs;
  }

  /** @throws AuthError `store_unavailable`; KeyRingError; whatever `onRing` throws. */
  async load(): Promise<Ring> {
    return (await this.#load()).ring;
  }

  /**
   * Loads where the view is older, and says whether it is young enough then: a load may take long too.
   * No promise where nothing is to be loaded, as for nearly every request.
   */
  freshen(ageMsMax = freshnessMs): true | Promise<boolean> {
    return this.ageMs <= ageMsMax || this.#freshen(ageMsMax);
  }

  async #freshen(ageMsMax: number): Promise<boolean> {
    for (let attempt = 0; attempt < 3 && this.ageMs > ageMsMax; attempt++) await this.#load();
    return this.ageMs <= ageMsMax;
  }

  /** The same for those who take an older view rather than wait for a store that is down. */
  tryFreshen(ageMsMax = freshnessMs): Promise<boolean> | undefined {
    if (this.#failedAt && this.#since(this.#failedAt) < outageMs) return undefined;
    const fresh = this.freshen(ageMsMax);
    return fresh === true ? undefined : fresh.catch(() => false);
  }

  /**
   * Reads, decides and writes until nobody was faster. Undefined where the decision was to leave it.
   *
   * @throws AuthError `store_unavailable`, and then it may have been written.
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
      // If it was written after all, a later load tells of it as of another replica's write.
      this.#written = undefined;
      throw error;
    }
  }

  #load(): Promise<View> {
    this.#loading ??= this.#read().finally(() => (this.#loading = undefined));
    return this.#loading;
  }

  async #read(): Promise<View> {
    const askedAt = this.#instant();
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
      this.#failedAt = this.#instant();
      throw error;
    }
  }

  /**
   * Whether an answer is older than what this replica has. A version alone does not tell: a store may
   * have been set back to a backup. But one that was under way while this replica wrote may be older.
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

  /** The larger of the two: the one clock may be set back, the other stop while a machine sleeps. */
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
