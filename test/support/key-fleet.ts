/**
 * A fleet in virtual time: replicas with wrong clocks that freeze, die and lose writes, one key
 * store that fails, and verifiers that cache the key set as its headers allow. Records the first
 * time that a promise is broken.
 */
import { AuthError } from "../../src/auth/errors.js";
import { freshnessMs, type Ring, type RingKeyState } from "../../src/auth/keys/ring.js";
import type { KeyStore, PublishedKeySet } from "../../src/auth/keys/key-set.js";
import { ManagedKeys } from "../../src/auth/keys/managed-keys.js";
import type { RsaPrivateKey } from "../../src/auth/keys/rsa.js";
import { fakeKey } from "./fake-key.js";
import { MemoryKeyStore } from "./memory-key-store.js";
import { seededRandom, VirtualTime } from "./virtual-time.js";

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const skewMs = 90 * second;
const leewaySeconds = 10;
/** More keys are never stored at once if tokens live for less time than keys sign. */
const keysMax = 10;

export interface FleetOptions {
  readonly seed: number;
  readonly replicas: number;
  /** The settings that a replica may have at each of its starts. */
  readonly intervalsSeconds: readonly number[];
  readonly tokenTtlsSeconds: readonly number[];
  /** Whether clocks are set back by an hour at times. */
  readonly clocksSetBack: boolean;
  /** The mean pause between two polls of a replica, and between two tokens. */
  readonly paceMs: number;
}

interface Process {
  readonly keys: ManagedKeys;
  readonly ttlSeconds: number;
  alive: boolean;
}

interface Replica {
  skewMs: number;
  setBackMs: number;
  /** The replica is frozen until then. Its monotonic clock lacks `suspendedMs`. */
  frozenUntilMs: number;
  suspendedMs: number;
  partitionedUntilMs: number;
  /** When the last poll that reached the store began. */
  reachedMs: number;
  process: Process;
}

interface CachedSet {
  readonly kids: ReadonlySet<string>;
  readonly atMs: number;
  readonly maxAgeMs: number;
  readonly staleMs: number;
}

interface Verifier {
  readonly skewMs: number;
  cache: CachedSet | undefined;
}

interface KeyRecord {
  state: RingKeyState | "removed";
  signed: boolean;
  leftSigningMs: number;
}

export class KeyFleet {
  readonly time = new VirtualTime(Date.UTC(2030, 0, 1));
  readonly counts = { tokens: 0, refused: 0, verified: 0, rotations: 0 };
  readonly #options: FleetOptions;
  readonly #random: () => number;
  readonly #store = new MemoryKeyStore();
  readonly #records = new Map<string, KeyRecord>();
  readonly #replicas: Replica[];
  readonly #verifiers: Verifier[];
  #storeDownUntilMs = 0;
  #broken: Error | undefined;
  #fileKey: RsaPrivateKey | undefined;
  #generated = 0;

  constructor(options: FleetOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed);
    this.#verifiers = Array.from({ length: 10 }, () => ({
      skewMs: this.#skew(),
      cache: undefined,
    }));
    this.#replicas = Array.from({ length: options.replicas }, () => this.#newReplica());
    for (const replica of this.#replicas) {
      void this.#polls(replica, replica.process);
      void this.#mishaps(replica);
    }
    void this.#outages();
    void this.#issues();
    void this.#operator();
  }

  run(ms: number): Promise<void> {
    return this.time.run(this.time.nowMs + ms, () => this.#broken);
  }

  /** Restarts every replica with a key file, after which the managed keys run out. */
  useKeyFile(): void {
    this.#fileKey = fakeKey(++this.#generated);
    for (const replica of this.#replicas) this.#restart(replica);
  }

  /** The keys that have ever signed and are still stored. */
  get remaining(): string[] {
    return [...this.#records].flatMap(([kid, { signed, state }]) =>
      signed && state !== "removed" ? [kid] : [],
    );
  }

  #break(what: string): void {
    const at = new Date(this.time.nowMs).toISOString();
    const times = (name: string, value: unknown) =>
      ["n", "e", "privateKey"].includes(name) ? undefined : value;
    const ring = JSON.stringify(JSON.parse(this.#store.document ?? "{}"), times);
    this.#broken ??= new Error(`${at}: ${what}\n${ring}`);
  }

  #chance(probability: number): boolean {
    return this.#random() < probability;
  }

  #skew(): number {
    return Math.round((this.#random() * 2 - 1) * skewMs);
  }

  /** Mostly much less than `ms`, at times several times that. */
  #around(ms: number): number {
    return -Math.log(1 - this.#random()) * ms;
  }

  #oneOf<T>(values: readonly T[]): T {
    return values[Math.floor(this.#random() * values.length)] as T;
  }

  #newReplica(): Replica {
    const replica = {
      ...{ skewMs: this.#skew(), setBackMs: 0, frozenUntilMs: 0, suspendedMs: 0 },
      ...{ partitionedUntilMs: 0, reachedMs: 0, process: undefined as unknown as Process },
    };
    replica.process = this.#newProcess(replica);
    return replica;
  }

  #newProcess(replica: Replica): Process {
    const ttlSeconds = this.#oneOf(this.#options.tokenTtlsSeconds);
    const process: { alive: boolean } = { alive: true };
    const keys = new ManagedKeys({
      store: this.#storeSeenBy(replica, process),
      clock: {
        now: () => this.#wall(replica),
        monotonic: () => this.time.nowMs - replica.suspendedMs,
      },
      intervalSeconds: this.#oneOf(this.#options.intervalsSeconds),
      tokenSeconds: ttlSeconds + leewaySeconds,
      encryptionKeys: [],
      generateKey: async () => {
        await this.#passes(replica, process);
        return fakeKey(++this.#generated);
      },
      signingFileKey: this.#fileKey,
    });
    return Object.assign(process, { keys, ttlSeconds });
  }

  #restart(replica: Replica): void {
    replica.process.alive = false;
    replica.reachedMs = -1;
    replica.process = this.#newProcess(replica);
    void this.#polls(replica, replica.process);
  }

  #wall(replica: Replica): number {
    return this.time.nowMs + replica.skewMs - replica.setBackMs;
  }

  #isFrozen(replica: Replica): boolean {
    return this.time.nowMs < replica.frozenUntilMs;
  }

  /** A step that takes time. The process may freeze or die in it; a dead one never goes on. */
  async #passes(
    replica: Replica,
    process: { alive: boolean },
    freezeMs = this.#around(hour / 4),
  ): Promise<void> {
    if (this.#chance(0.3)) await this.time.sleep(this.#around(200));
    if (this.#chance(0.003)) this.#freeze(replica, freezeMs);
    while (this.#isFrozen(replica)) await this.time.sleepUntil(replica.frozenUntilMs);
    if (!process.alive) await new Promise(() => undefined);
  }

  #storeSeenBy(replica: Replica, process: { alive: boolean }): KeyStore {
    const reach = async (freezeMs?: number) => {
      await this.#passes(replica, process, freezeMs);
      const lost = this.time.nowMs < Math.max(replica.partitionedUntilMs, this.#storeDownUntilMs);
      if (lost || this.#chance(0.01)) throw new AuthError("store_unavailable", "lost");
    };
    return {
      load: async () => {
        await reach();
        const stored = await this.#store.load();
        await this.#passes(replica, process);
        return stored;
      },
      save: async (document, version) => {
        // After a longer freeze the version would have changed: real replicas poll twice a second.
        await reach(this.#random() * 10 * second);
        const saved = await this.#store.save(document, version);
        if (saved) this.#record(document);
        if (this.#chance(0.1)) throw new AuthError("store_unavailable", "lost after the write");
        await this.#passes(replica, process);
        return saved;
      },
    };
  }

  #record(document: string): void {
    const ring = JSON.parse(document) as Ring;
    const states = new Map(ring.keys.map((key) => [key.kid, key.state]));
    if (states.size > keysMax) this.#break(`${states.size} keys are stored`);
    if (ring.keys.filter((key) => key.state === "signing").length > 1) this.#break("two keys sign");
    for (const [kid, record] of this.#records) {
      if (record.state === "signing" && states.get(kid) !== "signing") {
        record.leftSigningMs = this.time.nowMs;
      }
      record.state = states.get(kid) ?? "removed";
    }
    for (const [kid, state] of states) {
      const record = this.#records.get(kid) ?? { state, signed: false, leftSigningMs: Infinity };
      this.#records.set(kid, record);
      if (state !== "signing" || record.signed) continue;
      record.signed = true;
      this.counts.rotations++;
      void this.#probeNewKey();
    }
  }

  /**
   * Polls as often as it matters: seldom while nothing can happen; as often as a real replica after
   * a failure, or when a step is due.
   */
  async #polls(replica: Replica, process: Process): Promise<void> {
    while (process.alive) {
      await this.#passes(replica, process);
      const reached = await this.#refreshes(replica, process);
      const stepSeconds = process.keys.status().secondsUntilNextStep ?? Infinity;
      const lostUntilMs = Math.max(replica.partitionedUntilMs, this.#storeDownUntilMs);
      const pauseMs = this.#around(this.#options.paceMs);
      if (!reached) await this.time.sleepUntil(Math.max(this.time.nowMs, lostUntilMs) + second / 2);
      else if (stepSeconds === 0) await this.time.sleep(this.#random() * 4 * second);
      // Half of the time, all replicas wake up when the next step is due by their own clocks.
      else if (this.#chance(0.5)) await this.time.sleep(pauseMs);
      else await this.time.sleep(Math.min(stepSeconds * second, 5 * pauseMs));
    }
  }

  async #refreshes(replica: Replica, process: Process): Promise<boolean> {
    const { nowMs } = this.time;
    const reached = await process.keys.refresh().then(
      () => true,
      () => false,
    );
    if (reached) replica.reachedMs = nowMs;
    return reached;
  }

  async #mishaps(replica: Replica): Promise<void> {
    for (;;) {
      await this.time.sleep(this.#around(24 * this.#options.paceMs));
      if (this.#isFrozen(replica)) continue;
      const pick = this.#random();
      if (pick < 0.25) this.#freeze(replica, this.#around(3 * this.#options.paceMs));
      else if (pick < 0.5) this.#restart(replica);
      else if (pick < 0.6) await this.#partition(replica);
      else if (pick < 0.8) replica.skewMs = this.#skew();
      else if (this.#options.clocksSetBack) replica.setBackMs = replica.setBackMs ? 0 : hour;
    }
  }

  /** Refreshes before the partition, since the polls of a real replica keep its view that fresh. */
  async #partition(replica: Replica): Promise<void> {
    await this.#refreshes(replica, replica.process);
    replica.partitionedUntilMs = this.time.nowMs + this.#random() * this.#options.paceMs;
  }

  #freeze(replica: Replica, ms: number): void {
    if (this.#isFrozen(replica)) return;
    replica.frozenUntilMs = this.time.nowMs + ms;
    // A sleeping machine stops its monotonic clock too; a stopped process does not.
    if (this.#chance(0.5)) replica.suspendedMs += ms;
  }

  async #outages(): Promise<void> {
    for (;;) {
      await this.time.sleep(this.#around(240 * this.#options.paceMs));
      const replicas = this.#replicas.filter((replica) => !this.#isFrozen(replica));
      await Promise.all(replicas.map((replica) => this.#refreshes(replica, replica.process)));
      this.#storeDownUntilMs = this.time.nowMs + this.#around(2 * this.#options.paceMs);
    }
  }

  /** Rotates early now and then. */
  async #operator(): Promise<void> {
    for (;;) {
      await this.time.sleep(this.#around(100 * this.#options.paceMs));
      const replica = this.#oneOf(this.#replicas);
      if (!this.#isFrozen(replica)) void replica.process.keys.rotate().catch(() => undefined);
    }
  }

  async #issues(): Promise<void> {
    for (;;) {
      await this.time.sleep(this.#around(this.#options.paceMs));
      void this.#issue(this.#oneOf(this.#replicas));
    }
  }

  /** Shows the first tokens of a key to every verifier at once, whatever they have cached. */
  async #probeNewKey(): Promise<void> {
    for (const replica of this.#replicas) void this.#issue(replica, this.#verifiers);
    await this.time.sleep(this.#random() * 2 * freshnessMs);
    for (const replica of this.#replicas) void this.#issue(replica, this.#verifiers);
  }

  async #issue(replica: Replica, shownTo = [this.#oneOf(this.#verifiers)]): Promise<void> {
    const { process } = replica;
    if (this.#isFrozen(replica)) return;
    const key = await process.keys.signingKey().catch(() => undefined);
    if (!process.alive) return;
    if (key) this.counts.tokens++;
    else this.counts.refused++;
    if (!key || key.kid === this.#fileKey?.kid) return;
    const record = this.#records.get(key.kid);
    const leftMs = this.time.nowMs - (record?.leftSigningMs ?? 0);
    if (record?.state !== "signing" && !(record?.state === "retired" && leftMs <= freshnessMs)) {
      this.#break(`${key.kid} signs and is ${record?.state ?? "not stored"}`);
    }
    const expiresMs = this.#wall(replica) + process.ttlSeconds * second;
    for (const verifier of shownTo) await this.#verify(verifier, key.kid, expiresMs);
    const last = this.#oneOf(this.#verifiers);
    const endMs = expiresMs + leewaySeconds * second - last.skewMs - 1;
    await this.time.sleepUntil(this.time.nowMs + this.#random() * (endMs - this.time.nowMs));
    await this.#verify(this.#oneOf(this.#verifiers), key.kid, expiresMs);
    await this.time.sleepUntil(endMs);
    await this.#verify(last, key.kid, expiresMs);
  }

  async #verify(verifier: Verifier, kid: string, expiresMs: number): Promise<void> {
    const kids = await this.#keySet(verifier);
    const verifierMs = this.time.nowMs + verifier.skewMs;
    if (!kids || verifierMs > expiresMs + leewaySeconds * second) return;
    this.counts.verified++;
    if (!kids.has(kid)) this.#break(`a live token by ${kid} cannot be verified`);
  }

  /** Not ready: a replica that was frozen or partitioned and has not reached the store since. */
  #isReady(replica: Replica, set: PublishedKeySet): boolean {
    const lostTouchMs = Math.max(replica.frozenUntilMs, replica.partitionedUntilMs);
    return replica.process.alive && (lostTouchMs <= replica.reachedMs || set.maxAgeSeconds > 0);
  }

  /** The cached set while it is fresh; else a new one; else the stale one while it is allowed. */
  async #keySet(verifier: Verifier): Promise<ReadonlySet<string> | undefined> {
    const ageMs = verifier.cache ? this.time.nowMs - verifier.cache.atMs : Infinity;
    if (verifier.cache && ageMs <= verifier.cache.maxAgeMs) return verifier.cache.kids;
    const replica = this.#oneOf(this.#replicas);
    const unreachable = this.#isFrozen(replica) || this.#chance(0.3);
    const set = unreachable ? undefined : await replica.process.keys.published();
    if (set && this.#isReady(replica, set)) {
      const { keys } = JSON.parse(set.body) as { keys: { kid: string }[] };
      verifier.cache = {
        kids: new Set(keys.map((key) => key.kid)),
        atMs: this.time.nowMs,
        maxAgeMs: set.maxAgeSeconds * second,
        staleMs: set.staleIfErrorSeconds * second,
      };
      return verifier.cache.kids;
    }
    const { maxAgeMs, staleMs, kids } = verifier.cache ?? { maxAgeMs: 0, staleMs: 0 };
    return ageMs <= maxAgeMs + staleMs ? kids : undefined;
  }
}
