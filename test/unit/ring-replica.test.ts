import { expect, test } from "@jest/globals";
import { emptyRing, type Ring } from "../../src/auth/keys/ring.js";
import { RingReplica } from "../../src/auth/keys/ring-replica.js";
import { MemoryKeyStore } from "../support/memory-key-store.js";

const settled = () => new Promise((resolve) => setImmediate(resolve));

/** A store that has looked, or written, and answers only when it is let. */
class SlowStore extends MemoryKeyStore {
  readonly #waiting: (() => void)[] = [];
  isSlow = false;

  override async load() {
    const answer = await super.load();
    await this.#turn();
    return answer;
  }

  override async save(document: string, expectedVersion: number) {
    // What is asked for meanwhile is answered from before.
    await this.#turn();
    return super.save(document, expectedVersion);
  }

  #turn(): Promise<void> {
    return this.isSlow ? new Promise((go) => this.#waiting.push(go)) : Promise.resolve();
  }

  /** Lets the call go on that began as that one. */
  async let(index: number): Promise<void> {
    await settled();
    expect(this.#waiting.length).toBeGreaterThan(index);
    this.#waiting[index]?.();
    await settled();
  }
}

const interval = { intervalSeconds: 86_400 };
const revoked = (ring: Ring | undefined) => ring?.revoked.map(({ kid }) => kid);

function startReplica(store: SlowStore) {
  let nowMs = 0;
  const seen: (readonly string[] | undefined)[] = [];
  const replica = new RingReplica({
    ...{ store, empty: emptyRing(interval), intervalMs: 86_400_000 },
    clock: { now: () => ++nowMs, monotonic: () => ++nowMs },
    onRing: (ring) => seen.push(revoked(ring)),
  });
  return { replica, seen };
}

const revoke = (kid: string) => (ring: Ring) => ({
  ...ring,
  revoked: [...ring.revoked, { kid, at: 0 }],
});

test.each([
  ["after", [0, 1]],
  ["before", [1, 0]],
])("an answer older than our own write, which comes %s the write's", async (_, order) => {
  const store = new SlowStore();
  const { replica, seen } = startReplica(store);
  await replica.load();
  store.isSlow = true;
  const changing = replica.change(revoke("a"));
  await store.let(0);
  // The write is on its way, and the store looks for another request before it.
  const loading = replica.load();
  for (const index of order) await store.let(index + 1);
  await Promise.all([changing, loading]);
  expect(revoked(replica.ring)).toEqual(["a"]);
  expect(seen).toEqual([[], ["a"]]);
  expect(store.version).toBe(1);
});

test("a store that was set back to a backup is believed", async () => {
  const store = new SlowStore();
  const { replica } = startReplica(store);
  await replica.change(revoke("a"));
  const backup = store.document;
  await replica.change(revoke("b"));
  await replica.load();
  Object.assign(store, { document: backup, version: 1 });
  expect(revoked(await replica.load())).toEqual(["a"]);
});
