import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import { Throttle } from "../../src/auth/throttle/throttle.js";
import { openEmbeddedStore } from "../../src/store/embedded/embedded-store.js";
import {
  runThrottleContract,
  runThrottleStoreContract,
  type ThrottleStorePlace,
} from "./throttle-store.js";

const newFolder = () => mkdtempSync(join(tmpdir(), "latchkey-"));

function newPlace(): Promise<ThrottleStorePlace> {
  const dataDir = newFolder();
  return Promise.resolve({
    open: () => openEmbeddedStore({ dataDir }),
    dispose() {
      rmSync(dataDir, { recursive: true, force: true });
      return Promise.resolve();
    },
  });
}

runThrottleStoreContract("embedded", newPlace);
runThrottleContract("embedded", newPlace);

test("documents that have expired, and those too many that are disposable, go", async () => {
  const dataDir = newFolder();
  const store = await openEmbeddedStore({ dataDir, throttleDocumentsMax: 50 });
  const { throttle } = store;
  const write = (key: string, expiresAtMs: number, isDisposable: boolean) =>
    throttle.write(key, undefined, { document: key, expiresAtMs, isDisposable });
  const soonMs = Date.now() + 3_600_000;
  await Promise.all(Array.from({ length: 20 }, (_, i) => write(`kept${i}`, soonMs, false)));
  await Promise.all(Array.from({ length: 20 }, (_, i) => write(`past${i}`, 1, i % 2 === 0)));
  for (let i = 0; i < 100; i++) await write(`junk${i}`, soonMs + i, true);
  const keys: string[] = [];
  for await (const { key } of throttle.list()) keys.push(key.replace(/\d+/, ""));
  const count = (kind: string) => keys.filter((key) => key === kind).length;
  expect({ kept: count("kept"), past: count("past") }).toEqual({ kept: 20, past: 0 });
  expect(count("junk")).toBeLessThanOrEqual(51);
  expect(await throttle.read(["junk0"])).toEqual([undefined]);
  expect((await throttle.read(["junk99"]))[0]?.document).toBe("junk99");
  await store.close();
  rmSync(dataDir, { recursive: true });
});

test("12,000 junk usernames from as many networks take bounded space", async () => {
  const dataDir = newFolder();
  // What counts is the space: a busy disk may take its time.
  const deadlineMs = 60_000;
  const store = await openEmbeddedStore({ dataDir, throttleDocumentsMax: 1000, deadlineMs });
  const limits = { failures: 10, userFailures: 100, networkFailures: 100, windowSeconds: 900 };
  const throttle = new Throttle({
    store: store.throttle,
    secret: () => store.secret(),
    limits,
    isExempt: () => false,
    usernameKey: (username) => username,
    clock: { now: () => Date.now() },
  });
  const { signal } = new AbortController();
  const fail = async (i: number) => {
    const permit = await throttle.admit(
      `junk${i}`,
      `network${i}`,
      Promise.resolve(undefined),
      signal,
    );
    await permit.settle("wrong");
  };
  const sizeAfter = async (from: number, to: number) => {
    for (let i = from; i < to; i += 500) {
      await Promise.all(Array.from({ length: 500 }, (_, j) => fail(i + j)));
    }
    return statSync(join(dataDir, "latchkey.mdb")).size;
  };
  const early = await sizeAfter(0, 4000);
  const late = await sizeAfter(4000, 12_000);
  expect(late).toBeLessThan(early * 1.5);
  let count = 0;
  for await (const { document } of store.throttle.list()) count += document === "" ? 0 : 1;
  expect(count).toBeLessThan(1100);
  await store.close();
  rmSync(dataDir, { recursive: true });
});
