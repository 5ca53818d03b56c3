import { describe, expect, test } from "@jest/globals";
import { HashQueue, type HashPlace } from "../../src/auth/gate/gate.js";

function setUp(concurrency: number, waitingMax: number) {
  let nowMs = 0;
  const limits = { concurrency };
  const queue = new HashQueue({
    concurrency: () => limits.concurrency,
    waitingMax,
    now: () => nowMs,
  });
  const begun: string[] = [];
  const ends: (() => void)[] = [];
  const work = (name: string) => () => {
    begun.push(name);
    return new Promise<void>((resolve) => ends.push(resolve));
  };
  const start = (network: string, name = network, signal?: AbortSignal) => {
    const place = queue.enter(network, signal);
    const done = place.run(work(name)).finally(() => place.leave());
    done.catch(() => undefined);
    return { place, done };
  };
  const endOne = async (tookMs = 0) => {
    nowMs += tookMs;
    ends.shift()?.();
    await settled();
  };
  return { queue, limits, begun, start, endOne };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));
const overloaded = expect.objectContaining({ code: "overloaded" });

describe("a hash queue", () => {
  test("runs no more than its concurrency and lets no more than its bound wait", async () => {
    const { queue, begun, start, endOne } = setUp(2, 3);
    for (const name of ["a", "b", "c", "d", "e"]) {
      start("n", name);
      await settled();
    }
    expect(begun).toEqual(["a", "b"]);
    expect(queue.depth()).toEqual({ running: 2, waiting: 3 });
    expect(() => start("n", "f")).toThrow(overloaded);
    await endOne();
    expect(begun).toEqual(["a", "b", "c"]);
    start("n", "g");
    for (let i = 0; i < 6; i++) await endOne();
    expect(begun).toEqual(["a", "b", "c", "d", "e", "g"]);
    expect(queue.depth()).toEqual({ running: 0, waiting: 0 });
  });

  test("lets the networks take turns", async () => {
    const { begun, start, endOne } = setUp(1, 100);
    for (let i = 0; i < 5; i++) start("noisy", `noisy${i}`);
    start("a");
    start("b");
    for (let i = 0; i < 4; i++) await endOne();
    expect(begun.slice(0, 4)).toEqual(["noisy0", "noisy1", "a", "b"]);
  });

  test("full of one network, takes its newest place for another until they are even", async () => {
    const { queue, begun, start, endOne } = setUp(1, 4);
    start("noisy", "running");
    await settled();
    const noisy = [1, 2, 3, 4].map((i) => start("noisy", `noisy${i}`));
    expect(() => start("noisy")).toThrow(overloaded);
    start("quiet", "quiet1");
    await expect(noisy[3]?.done).rejects.toEqual(overloaded);
    start("quiet", "quiet2");
    await expect(noisy[2]?.done).rejects.toEqual(overloaded);
    expect(() => start("quiet", "quiet3")).toThrow(overloaded);
    expect(queue.depth().waiting).toBe(4);
    for (let i = 0; i < 5; i++) await endOne();
    expect(begun.sort()).toEqual(["noisy1", "noisy2", "quiet1", "quiet2", "running"]);
  });

  test("never begins for a caller who has left", async () => {
    const { queue, begun, start, endOne } = setUp(1, 10);
    start("n", "running");
    await settled();
    const leaving = new AbortController();
    const { done } = start("n", "left", leaving.signal);
    start("n", "stayed");
    const reason = new Error("gone");
    leaving.abort(reason);
    expect(queue.depth().waiting).toBe(1);
    await expect(done).rejects.toBe(reason);
    await endOne();
    expect(begun).toEqual(["running", "stayed"]);
    expect(() => queue.enter("n", leaving.signal)).toThrow(reason);
  });

  test("never begins for a caller who left before asking for the turn", async () => {
    const { queue, begun } = setUp(1, 10);
    const leaving = new AbortController();
    const place = queue.enter("n", leaving.signal);
    const reason = new Error("gone");
    leaving.abort(reason);
    const work = () => Promise.resolve(begun.push("left"));
    await expect(place.run(work)).rejects.toBe(reason);
    expect(begun).toEqual([]);
  });

  test("counts a place from entering on and frees it on leaving", () => {
    const { queue } = setUp(1, 2);
    const places: HashPlace[] = [queue.enter("n", undefined), queue.enter("n", undefined)];
    expect(() => queue.enter("n", undefined)).toThrow(overloaded);
    places.forEach((place) => place.leave());
    expect(queue.depth()).toEqual({ running: 0, waiting: 0 });
  });

  test("a place that has not asked for its turn yet holds up nobody", async () => {
    const { queue, begun, start } = setUp(1, 10);
    queue.enter("n", undefined);
    start("n", "ready");
    await settled();
    expect(begun).toEqual(["ready"]);
  });

  test("frees the turn of work that fails", async () => {
    const { queue } = setUp(1, 10);
    const place = queue.enter("n", undefined);
    await expect(place.run(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(queue.depth()).toEqual({ running: 0, waiting: 0 });
  });

  test("says when to come back by its depth and the time of a hash", async () => {
    const { start, endOne } = setUp(1, 100);
    for (let i = 0; i < 140; i++) {
      start(`n${i}`);
      await endOne(1000);
    }
    for (let i = 0; i < 21; i++) start("n");
    const retry = () => {
      try {
        for (;;) start("n");
      } catch (error) {
        return (error as { retryAfterSeconds?: number }).retryAfterSeconds;
      }
    };
    expect(retry()).toBe(60);
  });

  test("starts more with the next turn when it has widened, fewer when it has narrowed", async () => {
    const { queue, limits, begun, start, endOne } = setUp(1, 10);
    for (const name of ["a", "b", "c", "d", "e", "f"]) start("n", name);
    await settled();
    limits.concurrency = 3;
    await endOne();
    expect(begun).toEqual(["a", "b", "c", "d"]);
    limits.concurrency = 1;
    for (let i = 0; i < 2; i++) await endOne();
    expect(queue.depth().running).toBe(1);
    await endOne();
    expect(begun).toEqual(["a", "b", "c", "d", "e"]);
  });
});
