import { expect, test } from "@jest/globals";
import { emptyRing, type Ring } from "../../src/auth/keys/ring.js";
import { RingReplica } from "../../src/auth/keys/ring-replica.js";
import { MemoryKeyStore } from "../support/memory-key-store.js";

const settled = () => new Promise((resolve) => setImmediate(resolve));

/** A store that has looked, or written, and answers only when it is let. */
class SlowStore extends MemoryKeyStore {
  readonly #waiting: ((error?: Error) => void)[] = [];
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
    if (!this.isSlow) return Promise.resolve();
    return new Promise((go, fail) => {
      this.#waiting.push((error) => (error ? fail(error) : go()));
    });
  }

  /** Lets the call go on, or fail, that began as that one. */
  async let(index: number, error?: Error): Promise<void> {
    await settled();
    expect(this.#waiting.length).toBeGreaterThan(index);
    this.#waiting[index]?.(error);
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
  return { replica, seen, pass: (ms: number) => (nowMs += ms) };
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

test("nobody waits for a load that a lost server has not answered, and its failure is an old one", async () => {
  const store = new SlowStore();
  const { replica, pass } = startReplica(store);
  await replica.load();
  pass(2000);
  store.isSlow = true;
  const lost = replica.load();
  pass(50);
  const shared = replica.load();
  const ended = Promise.allSettled([lost, shared]);
  pass(500);
  const loading = replica.load();
  await store.let(1);
  expect(revoked(await loading)).toEqual([]);
  await store.let(0, new Error("gone"));
  expect((await ended).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  // After a failed load it would go on with the older view.
  pass(2000);
  store.isSlow = false;
  expect(await replica.tryFreshen()).toBe(true);
});
