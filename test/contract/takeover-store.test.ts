/** What both stores promise of a take-over. */
import { describe, expect, test } from "@jest/globals";
import type { LearnedUser } from "../../src/takeover/store.js";
import { storeNames, useStores } from "../support/stores.js";

const { newPlace, open } = useStores();

const learned = (differences: Partial<LearnedUser> = {}): LearnedUser => ({
  ...{ subject: "1", username: "TestUser", names: ["testuser"], hash: "$argon2id$1" },
  ...{ atMs: 1000, ownHashCounts: true, from: "old.example", day: "2026-11-01" },
  ...differences,
});

describe.each(storeNames)("%s", (name) => {
  /** Two processes on one store. */
  async function two() {
    const env = await newPlace(name);
    return [(await open(env)).takeover, (await open(env)).takeover] as const;
  }

  test("the lead is what was set last, for every process", async () => {
    const [one, other] = await two();
    expect(await other.lead()).toBeUndefined();
    await one.setLead({ percent: 1, variable: 0 });
    await other.setLead({ percent: 100, variable: 0 });
    expect(await one.lead()).toEqual({ percent: 100, variable: 0 });
    expect(await one.breaker()).toBeUndefined();
    await one.setBreaker({ state: "open", atMs: 7, cause: "it is slow" });
    expect(await other.breaker()).toEqual({ state: "open", atMs: 7, cause: "it is slow" });
    await other.setBreaker({ state: "closed", atMs: 8, cause: undefined });
    expect(await one.breaker()).toEqual({ state: "closed", atMs: 8 });
  });

  test("of two words the later holds, whoever writes first", async () => {
    const [one, other] = await two();
    const subjects = ["1", "ann", "x".repeat(5000), "\u0000", "lead"];
    for (const subject of subjects) {
      const words = [3, 1, 2].map((atMs) => learned({ subject, atMs, hash: `$${atMs}` }));
      const wrote = await Promise.all(
        words.map((word, index) => (index === 1 ? other : one).learn(word)),
      );
      expect(wrote[0]).toBe(true);
      expect(await other.findBySubject(subject)).toEqual(words[0]);
      expect(await one.learn(learned({ subject, atMs: 3, hash: "$another" }))).toBe(false);
    }
    expect(
      (await one.findAll([...subjects, "nobody"])).map(({ subject }) => subject).sort(),
    ).toEqual([...subjects].sort());
  });

  test("a user is found by each name, and a name leads to whom it was last heard of", async () => {
    const [one, other] = await two();
    await one.learn(learned({ names: ["testuser", "Tëst"] }));
    expect((await other.findByName("Tëst"))?.subject).toBe("1");
    expect(await other.findByName("tëst")).toBeUndefined();
    await other.learn(learned({ subject: "2", atMs: 2000, names: ["Tëst"] }));
    expect((await one.findByName("Tëst"))?.subject).toBe("2");
    expect((await one.findByName("testuser"))?.subject).toBe("1");
    await one.learn(
      learned({ atMs: 3000, names: ["other"], hash: undefined, ownHashCounts: false }),
    );
    expect(await one.findByName("testuser")).toBeUndefined();
    const refused = await one.findByName("other");
    expect(refused).toEqual(
      learned({ atMs: 3000, names: ["other"], hash: undefined, ownHashCounts: false }),
    );
  });

  test("a day is noted once, whoever sees the login", async () => {
    const [one, other] = await two();
    expect(await one.see("1", "2026-11-02")).toBe(false);
    await one.learn(learned());
    expect(await one.see("1", "2026-11-01")).toBe(false);
    const seen = await Promise.all([one.see("1", "2026-11-02"), other.see("1", "2026-11-02")]);
    expect(seen.filter(Boolean)).toHaveLength(1);
    expect(await one.findBySubject("1")).toEqual(learned({ day: "2026-11-02" }));
  });

  test("what has changed meanwhile is not forgotten; all is, at once", async () => {
    const [one, other] = await two();
    await one.learn(learned());
    expect(await other.forget("1", 999)).toBe(false);
    expect(await other.forget("1", 1000)).toBe(true);
    expect(await one.findByName("testuser")).toBeUndefined();
    expect(await one.forget("1", 1000)).toBe(false);
    for (const subject of ["1", "2", "3"]) {
      await one.learn(learned({ subject, hash: subject === "3" ? undefined : `$${subject}` }));
    }
    expect(await other.count()).toEqual({ users: 3, hashes: 2 });
    const listed: string[] = [];
    for await (const { subject } of other.list()) listed.push(subject);
    expect(listed.sort()).toEqual(["1", "2", "3"]);
    expect(new Set(await one.sampleHashes(50)).size).toBeLessThanOrEqual(2);
    expect(await one.forgetAll()).toBe(3);
    expect(await other.count()).toEqual({ users: 0, hashes: 0 });
    expect(await other.findByName("testuser")).toBeUndefined();
  });

  test("counters and differences add up over the processes", async () => {
    const [one, other] = await two();
    const difference = (kind: string, count: number, atMs: number, ...examples: string[]) => ({
      ...{ kind, count, firstAtMs: atMs, lastAtMs: atMs, examples },
    });
    const add = (store: typeof one, day: string, own: number, atMs: number) =>
      store.add({
        ...{ day, counts: { own, old_token: 1 } },
        differences: [difference("header x", own, atMs, String(atMs)), difference("status", 1, 5)],
      });
    await Promise.all([add(one, "2026-11-02", 2, 7), add(other, "2026-11-02", 3, 3)]);
    await add(one, "2026-11-01", 1, 9);
    expect(await other.days("2026-11-02")).toEqual([
      { day: "2026-11-02", counts: { own: 5, old_token: 2 } },
    ]);
    expect((await one.days("2026-01-01")).map(({ day }) => day)).toEqual([
      "2026-11-01",
      "2026-11-02",
    ]);
    const [most, second] = await other.differences();
    expect(most).toMatchObject({ kind: "header x", count: 6, firstAtMs: 3, lastAtMs: 9 });
    expect([...(most?.examples ?? [])].sort()).toEqual(["3", "7", "9"]);
    expect(second).toMatchObject({ kind: "status", count: 3, examples: [] });
    for (let atMs = 10; atMs < 30; atMs++) await add(one, "2026-11-03", 1, atMs);
    expect((await other.differences())[0]?.examples).toHaveLength(5);
  });
});
