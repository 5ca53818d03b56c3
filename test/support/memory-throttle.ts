/** The throttle's store in memory, with faults; and a replica of an earlier version beside it. */
import { AuthError } from "../../src/auth/errors.js";
import type { ThrottleDocument, ThrottleStore } from "../../src/auth/throttle/throttle.js";

/**
 * `unconfirmed`: writes are applied but reported as failed. `deaf`: reads work, no write is
 * applied.
 */
export const faults = ["none", "lags", "fails", "unconfirmed", "deaf"] as const;
export type Fault = (typeof faults)[number];

export class MemoryThrottle implements ThrottleStore {
  fault: Fault = "none";
  nowMs = Date.UTC(2026, 0, 1);
  reads = 0;
  writes = 0;
  readonly documents = new Map<string, { version: string; document: string }>();
  #versions = 0;

  now(): number {
    return this.nowMs;
  }

  async read(keys: readonly string[]) {
    this.reads++;
    await this.#delay();
    if (this.fault === "fails") throw unavailable();
    return keys.map((key) => this.documents.get(key));
  }

  async write(key: string, version: string | undefined, { document }: ThrottleDocument) {
    this.writes++;
    await this.#delay();
    if (this.fault === "fails" || this.fault === "deaf") throw unavailable();
    if (this.documents.get(key)?.version !== version) return undefined;
    const next = { version: String(++this.#versions), document };
    this.documents.set(key, next);
    await this.#delay();
    if (this.fault === "unconfirmed") throw unavailable();
    return next.version;
  }

  async *list() {
    await Promise.resolve();
    for (const [key, { document }] of this.documents) yield { key, document };
  }

  /** The number of places, in all counters of all records, that time has not given back. */
  places(): number {
    const counters = [...this.documents].flatMap(([key, { document }]) =>
      key.includes(":") ? Object.values(parse(document).counters) : [],
    );
    const isLost = ({ heldAtMs }: OldCounter) =>
      this.nowMs - heldAtMs >= 30_000 || heldAtMs - this.nowMs >= 60_000;
    return counters.reduce((sum, counter) => sum + (isLost(counter) ? 0 : counter.held), 0);
  }

  async #delay(): Promise<void> {
    const turns = this.fault === "lags" ? 1 + (this.#versions % 4) : 0;
    for (let i = 0; i < turns; i++) await new Promise(setImmediate);
  }
}

const unavailable = () => new AuthError("store_unavailable", "down", { retryAfterSeconds: 1 });

interface OldCounter {
  readonly failures: number;
  readonly held: number;
  readonly heldAtMs: number;
  readonly failedAtMs: number;
  readonly slotAtMs: number;
}

interface OldRecord {
  readonly counters: Record<string, OldCounter>;
  readonly known: Record<string, number>;
}

const parse = (document: string) => JSON.parse(document) as OldRecord;
const zero = { failures: 0, held: 0, heldAtMs: 0, failedAtMs: 0, slotAtMs: 0 };

/**
 * Does to one counter what a replica of 0.1.0 does: it counts places without ids and keeps fields
 * that it does not know. False if the counter is full.
 */
export async function guessAsBefore(
  store: MemoryThrottle,
  key: string,
  counter: string,
  max: number,
): Promise<boolean> {
  const edit = (change: (before: OldCounter) => OldCounter | undefined) =>
    editRecord(store, key, ({ counters, ...rest }) => {
      const after = change(counters[counter] ?? zero);
      return after && { ...rest, counters: { ...counters, [counter]: after } };
    });
  const hasPlace = await edit((before) =>
    before.failures + before.held >= max
      ? undefined
      : { ...before, held: before.held + 1, heldAtMs: store.nowMs },
  );
  if (!hasPlace) return false;
  await new Promise(setImmediate);
  return edit((before) => ({
    ...before,
    held: Math.max(before.held - 1, 0),
    failures: before.failures + 1,
    failedAtMs: store.nowMs,
    slotAtMs: store.nowMs + 60_000,
  }));
}

/** Notes a login as 0.1.0 did: in the username's record. */
export function trustAsBefore(store: MemoryThrottle, key: string, trust: string) {
  return editRecord(store, key, ({ known, ...rest }) => ({
    ...rest,
    known: { ...known, [trust]: store.nowMs },
  }));
}

async function editRecord(
  store: MemoryThrottle,
  key: string,
  change: (record: OldRecord) => OldRecord | undefined,
): Promise<boolean> {
  for (;;) {
    const [stored] = await store.read([key]);
    const next = change(stored ? parse(stored.document) : { counters: {}, known: {} });
    if (next === undefined) return false;
    const document = { document: JSON.stringify(next), expiresAtMs: undefined, isDisposable: true };
    if ((await store.write(key, stored?.version, document)) !== undefined) return true;
  }
}
