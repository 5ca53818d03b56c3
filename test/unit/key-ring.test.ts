import { describe, expect, test } from "@jest/globals";
import {
  emptyRing,
  freshnessMs,
  importKey,
  nextRing,
  nextStepOf,
  revoke,
  rotate,
  rotateNow,
  scheduleOf,
  signingKeyOf,
  type NewKey,
  type Ring,
  type RotationPolicy,
} from "../../src/auth/keys/ring.js";

const day = 86_400_000;
const policy: RotationPolicy = {
  ...{ intervalSeconds: 30 * 86_400, tokenSeconds: 7210, rotates: true, holds: false },
};
/** max-age, stale-if-error, the clocks' error and the age of a replica's view. */
const waitMs = (300 + 3600 + 3780) * 1000 + freshnessMs;
const keepMs = (7210 + 2 * 3780) * 1000 + freshnessMs;
const key = (kid: string): NewKey => ({
  kid,
  n: `modulus of ${kid}`,
  e: "AQAB",
  privateKey: `secret of ${kid}`,
});

function step(
  ring: Ring,
  now: number,
  spare?: string,
  changes: Partial<RotationPolicy> = {},
): Ring {
  const next = nextRing(ring, now, { ...policy, ...changes }, spare ? key(spare) : undefined);
  if (!next) throw new Error("nothing is due");
  return next;
}

const states = (ring: Ring) =>
  Object.fromEntries(ring.keys.map(({ kid, state }) => [kid, state] as const));

/** `a` signs since 0, `b` is published. */
const started = step(step(emptyRing(policy), 0, "a"), 0, "b");

describe("a key's life", () => {
  test("the first key of an empty store signs at once, the second one is published", () => {
    expect(states(started)).toEqual({ a: "signing", b: "published" });
    expect(nextRing(started, 30 * day - 1, policy)).toBeUndefined();
    expect(nextRing(started, 0, policy, key("c"))).toBeUndefined();
  });

  test("rotation, retirement without the private part, removal", () => {
    const rotated = step(started, 30 * day, "c");
    expect(states(rotated)).toEqual({ a: "retired", b: "signing", c: "published" });
    expect(JSON.stringify(rotated)).not.toContain("secret of a");
    expect(nextRing(rotated, 30 * day + keepMs - 1, policy)).toBeUndefined();
    expect(states(step(rotated, 30 * day + keepMs))).toEqual({ b: "signing", c: "published" });
  });

  test("no key signs before every verifier can know it, however much it is wanted", () => {
    const requested = rotate(started, 1000, policy);
    expect(states(requested)).toEqual(states(started));
    expect(nextRing(requested, waitMs - 1, policy)).toBeUndefined();
    expect(states(step(requested, waitMs))).toEqual({ a: "retired", b: "signing" });
    expect(states(rotate(started, waitMs, policy, key("c")))).toEqual({
      ...{ a: "retired", b: "signing", c: "published" },
    });
  });

  test("nothing rotates while the policy holds", () => {
    expect(nextRing(started, 31 * day, { ...policy, holds: true })).toBeUndefined();
  });

  test("a clock that was set back changes nothing", () => {
    const rotated = step(started, 30 * day, "c");
    expect(nextRing(rotated, 29 * day, policy)).toBeUndefined();
  });

  test("what happens next, and when", () => {
    const rotated = step(started, 30 * day, "c");
    expect(rotated.keys.map((one) => nextStepOf(rotated, one, policy))).toEqual([
      { step: "removed", at: 30 * day + keepMs },
      { step: "retired", at: 60 * day },
      { step: "signing", at: 60 * day },
    ]);
  });
});

describe("emergencies", () => {
  test("rotateNow does not wait, and a spare takes the place of the next key", () => {
    const rotated = rotateNow(started, 1000, policy, key("c"));
    expect(states(rotated)).toEqual({ a: "retired", b: "signing", c: "published" });
    const alone = step(emptyRing(policy), 0, "a");
    expect(states(rotateNow(alone, 1, policy, key("c")))).toEqual({ a: "retired", c: "signing" });
  });

  test("revoking the key that signs has the next one sign in the same write", () => {
    const revoked = revoke(started, "a", 1000, policy, { spare: key("c"), fileKeys: [] });
    expect(revoked && states(revoked)).toEqual({ b: "signing", c: "published" });
    expect(revoked?.revoked).toEqual([{ kid: "a", n: key("a").n, at: 1000 }]);
    const alone = step(emptyRing(policy), 0, "a");
    const replaced = revoke(alone, "a", 1, policy, { spare: key("c"), fileKeys: [] });
    expect(replaced && states(replaced)).toEqual({ c: "signing" });
  });

  test("a revoked key never comes back, and only known keys can be revoked", () => {
    const revoked = revoke(started, "b", 1, policy, { fileKeys: [] }) ?? started;
    expect(revoke(revoked, "b", 2, policy, { fileKeys: [] })).toBeUndefined();
    expect(nextRing(revoked, 2, policy, key("b"))).toBeUndefined();
    const again = { ...key("b"), kind: "private", sign: false } as const;
    expect(() => importKey(revoked, again, 2, policy)).toThrow("is revoked");
    expect(() => revoke(started, "x", 1, policy, { fileKeys: [] })).toThrow("no key x");
    expect(revoke(started, "x", 1, policy, { fileKeys: [key("x")] })?.revoked).toHaveLength(1);
  });

  test("one that an earlier version revoked is known by its id", () => {
    const ring = { ...started, revoked: [{ kid: "x", at: 1 }] };
    const again = { ...key("x"), kind: "trusted" } as const;
    expect(() => importKey(ring, again, 2, policy)).toThrow("is revoked");
  });

  test("no key takes the id of another", () => {
    const other = { ...key("x"), kid: "a", kind: "private", sign: true } as const;
    expect(() => importKey(started, other, 1, policy)).toThrow("another key has the id a");
  });
});

describe("a change of configuration", () => {
  test("a longer token lifetime is in the ring before a shorter one can retire the key", () => {
    const raised = step(started, 1, undefined, { tokenSeconds: 100_000 });
    expect(nextRing(raised, 2, policy)).toBeUndefined();
    const rotated = step(raised, 30 * day, "c");
    const removeAt = 30 * day + keepMs + (100_000 - 7210) * 1000;
    expect(rotated.keys[0]).toMatchObject({ kid: "a", removeAt });
  });

  test("a shorter interval waits for the caches of the longer one, twice over", () => {
    const short = { intervalSeconds: 1200 };
    const rotated = step(started, 2 * waitMs, "c", short);
    expect(rotated.cacheSeconds).toBe(600);
    const wait = (3900 + 300) * 1000 + freshnessMs;
    expect(rotated.keys[2]).toMatchObject({ kid: "c", readyAt: 2 * waitMs + wait });
    const urgent = rotateNow(rotated, 2 * waitMs + 1, { ...policy, ...short }, key("d"));
    expect(urgent.keys[3]).toMatchObject({ kid: "d", readyAt: 2 * waitMs + wait });
  });

  test("a longer interval lets caches last longer only once the ring says so", () => {
    const short = { ...policy, intervalSeconds: 60 };
    const ring = step(step(emptyRing(short), 0, "a", short), 0, "b", short);
    expect(ring.cacheSeconds).toBe(30);
    expect(step(ring, 1).cacheSeconds).toBe(3900);
  });
});

describe("where a key file signs", () => {
  const file = { rotates: false };

  test("an empty store stays empty", () => {
    const spare = key("a");
    expect(nextRing(emptyRing(policy), 0, { ...policy, ...file }, spare)).toBeUndefined();
  });

  test("the managed key is retired when replicas that know no file would have rotated", () => {
    expect(nextRing(started, 30 * day + waitMs - 1, { ...policy, ...file })).toBeUndefined();
    const retired = step(started, 30 * day + waitMs, undefined, file);
    expect(states(retired)).toEqual({ a: "retired", b: "published" });
    expect(states(step(retired, 31 * day, undefined, file))).toEqual({ b: "published" });
    expect(states(step(retired, 32 * day, "c"))).toEqual({ b: "signing", c: "published" });
  });

  test("an import cannot sign", () => {
    const imported = { ...key("i"), kind: "private", sign: true } as const;
    expect(() => importKey(started, imported, 1, { ...policy, ...file })).toThrow("key file");
  });
});

describe("an imported key", () => {
  const plain = { ...key("i"), kind: "private", sign: false } as const;

  test("is published and kept until it is revoked, or for so long", () => {
    const ring = importKey(started, plain, 1, policy);
    expect(ring.keys[2]).toMatchObject({ state: "retired", imported: true });
    expect(JSON.stringify(ring)).not.toContain("secret of i");
    expect(nextRing(ring, 29 * day, policy)).toBeUndefined();
    const kept = importKey(started, { ...plain, keepSeconds: 60 }, 0, policy);
    expect(states(step(kept, 60_000))).toEqual(states(started));
  });

  test("signs as soon as every verifier can know it, before the next managed one", () => {
    const ring = importKey(started, { ...plain, sign: true }, 1000, policy);
    expect(nextRing(ring, 999 + waitMs, policy)).toBeUndefined();
    const rotated = step(ring, 1000 + waitMs);
    expect(states(rotated)).toEqual({ i: "signing", a: "retired", b: "published" });
    expect(signingKeyOf(rotated)?.imported).toBe(true);
  });

  test("that was published for long signs at once when it is imported again", () => {
    const ring = importKey(started, plain, 0, policy);
    const signing = importKey(ring, { ...plain, sign: true }, waitMs, policy);
    expect(states(signing)).toEqual({ i: "signing", a: "retired", b: "published" });
    expect(() => importKey(signing, plain, waitMs, policy)).toThrow("signing already");
  });

  test("signs at once on an empty store", () => {
    const ring = importKey(emptyRing(policy), { ...plain, sign: true }, 0, policy);
    expect(states(ring)).toEqual({ i: "signing" });
  });
});

test.each([2, 3, 4, 5, 30, 720, 3600, 15_120, 86_400, 30 * 86_400])(
  "at an interval of %i s the next key is ready when it should sign",
  (intervalSeconds) => {
    const { maxAgeSeconds, staleIfErrorSeconds, clockErrorSeconds } = scheduleOf({
      intervalSeconds,
    });
    const wait = maxAgeSeconds + staleIfErrorSeconds + clockErrorSeconds + freshnessMs / 1000;
    expect(wait).toBeLessThanOrEqual(intervalSeconds);
    expect(clockErrorSeconds >= 180).toBe(intervalSeconds >= 720);
    expect(clockErrorSeconds >= 3780).toBe(intervalSeconds >= 15_120);
    expect(Number.isInteger(maxAgeSeconds) && Number.isInteger(staleIfErrorSeconds)).toBe(true);
  },
);
