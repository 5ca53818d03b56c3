/** Stored hashes that were made to do harm: each is a failed login like any other. */
import { describe, expect, test } from "@jest/globals";
import { families } from "../../src/auth/passwords/families.js";
import { inspectHash, verifyPassword } from "../../src/auth/passwords/passwords.js";
import { atCeiling, overCeiling, unusable } from "../support/hostile-hashes.js";

const never = (hash: string) => verifyPassword(hash, "password");

/**
 * What runs, its CPU time over all threads in ms, which no busy neighbour adds to, and the growth of
 * resident memory while it ran, in bytes.
 */
async function measured(run: () => Promise<unknown>) {
  const before = process.memoryUsage.rss();
  let peak = before;
  const sampler = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 1);
  const start = process.cpuUsage();
  await run().finally(() => clearInterval(sampler));
  const { user, system } = process.cpuUsage(start);
  const milliseconds = (user + system) / 1000;
  return { milliseconds, growth: peak - before };
}

const shown = (hash: string) => [hash.length > 80 ? `${hash.slice(0, 80)}…` : hash, hash] as const;

describe("over a ceiling", () => {
  test.each(overCeiling.map(shown))("%j", async (_, hash) => {
    expect(inspectHash(hash).verdict).toBe("over_ceiling");
    expect(await never(hash)).toBe(false);
  });
});

describe("unusable", () => {
  test.each(unusable.map(shown))("%j", async (_, hash) => {
    expect(inspectHash(hash).verdict).toBe("unusable");
    expect(await never(hash)).toBe(false);
  });
});

test("every family whose cost a hash tells has one past its ceiling", () => {
  const tested = new Set(overCeiling.map((hash) => inspectHash(hash).family));
  // A notation past a ceiling is no notation: such hashes are among the unusable ones.
  const withCosts = families.filter(
    ({ name, ceiling }) => name !== "custom" && !/^(?:none needed|fixed)/.test(ceiling),
  );
  expect(withCosts.map(({ name }) => name).filter((name) => !tested.has(name))).toEqual([]);
});

test("none takes 50 ms of CPU or 64 MiB more than an ordinary failed login", async () => {
  const ordinary: number[] = [];
  for (let i = 0; i < 15; i++) {
    ordinary.push((await measured(() => verifyPassword(undefined, "password"))).milliseconds);
  }
  const median = ordinary.sort((a, b) => a - b)[7] ?? 0;
  for (const hash of [...overCeiling, ...unusable]) {
    const tries = [];
    for (let i = 0; i < 3; i++) tries.push(await measured(() => never(hash)));
    const fastest = Math.min(...tries.map(({ milliseconds }) => milliseconds));
    const growth = Math.min(...tries.map((each) => each.growth));
    expect([hash.slice(0, 80), fastest < median + 50, growth < 2 ** 26]).toEqual([
      hash.slice(0, 80),
      true,
      true,
    ]);
    // As long as an ordinary one, too: a quick answer would tell that there is no usable hash.
    expect(fastest).toBeGreaterThan(median / 4);
  }
});

describe("at a ceiling", () => {
  test.each(Object.entries(atCeiling))("%s is computed", (_, hash) => {
    expect(inspectHash(hash).verdict).toBe("ok");
  });
});

test("a reason never quotes the hash", () => {
  for (const hash of [...overCeiling, ...unusable].filter(({ length }) => length > 0)) {
    expect(inspectHash(hash).reason).not.toContain(hash);
    expect(inspectHash(hash).reason).not.toMatch(/password|aaaa|AAAA/);
  }
});

test("the slow ones in JavaScript leave the event loop alone", async () => {
  let ticks = 0;
  const timer = setInterval(() => (ticks += 1), 1);
  expect(await never(`$6$rounds=200000$salt$${"a".repeat(86)}`)).toBe(false);
  clearInterval(timer);
  expect(ticks).toBeGreaterThan(20);
});
