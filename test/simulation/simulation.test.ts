/**
 * A fleet in one process: the real gate, throttle, keys, tokens, revocations and MongoDB stores over a model of a
 * replica set, in virtual time, from a seed. `SEED` begins with one history; `MINUTES` runs longer.
 */
import * as mongodb from "mongodb";
import { afterAll, expect, jest, test } from "@jest/globals";
import { ModelClient } from "./driver.js";
import { makeSchedule, print, shrink, type Schedule } from "./schedule.js";
import { syncCrypto, syncWebCrypto } from "./sync-crypto.js";
import { replaceGlobals, timersPromises } from "./world.js";

const { SEED, MINUTES, SHRINK } = process.env;
/** The suite runs the same histories each time, so that only a change of the source can make it fail. */
const firstSeed = Number(SEED ?? (MINUTES === undefined ? 1 : Math.floor(Math.random() * 2 ** 31)));
const budgetMs = MINUTES === undefined ? 25_000 : Number(MINUTES) * 60_000;
/** The time of this process alone, whatever runs beside it. */
const nowMs = () => process.cpuUsage().user / 1000;

jest.unstable_mockModule("mongodb", () => ({ ...mongodb, MongoClient: ModelClient }));
jest.unstable_mockModule("node:crypto", () => syncCrypto);
jest.unstable_mockModule("node:timers/promises", () => timersPromises);
Object.defineProperty(globalThis, "crypto", { value: syncWebCrypto, configurable: true });

const { Fleet } = await import("./fleet.js");
const restore = replaceGlobals();
afterAll(restore);

async function run(schedule: Schedule) {
  const fleet = new Fleet(schedule);
  const broken = await fleet.run();
  return { fleet, broken };
}

test("a history is the same each time", async () => {
  const [one, other] = [await run(makeSchedule(firstSeed)), await run(makeSchedule(firstSeed))];
  const traces = [one, other].map(({ fleet: { world, set, counts }, broken }) => {
    return { broken, steps: world.steps, nowMs: world.nowMs, set: set.counts, counts };
  });
  expect(traces[0]).toEqual(traces[1]);
});

test(
  "the laws hold over random histories of a fleet",
  async () => {
    const untilMs = nowMs() + budgetMs;
    const total: Record<string, number> = {};
    const add = (counts: object) => {
      for (const [name, count] of Object.entries(counts))
        total[name] = (total[name] ?? 0) + Number(count);
    };
    let seed = firstSeed;
    do {
      const schedule = makeSchedule(seed++);
      const { fleet, broken } = await run(schedule);
      add({ histories: 1, ...fleet.world.steps, ...fleet.counts, ...fleet.set.counts });
      if (broken !== undefined) {
        const endMs = nowMs() + budgetMs;
        const least = await shrink(
          schedule,
          async (each) => (await run(each)).broken !== undefined,
          () => SHRINK === "off" || nowMs() > endMs,
        );
        const { broken: law } = await run(least);
        throw new Error(
          `law broken: ${broken}\nThe least that breaks a law, at ${String(law)}:\n${print(least)}`,
        );
      }
    } while (nowMs() < untilMs);
    const steps = (total["machines"] ?? 0) + (total["replicaSet"] ?? 0);
    total["cpuMs"] = process.cpuUsage().user / 1000;
    process.stdout.write(`simulation: SEED=${firstSeed} steps=${steps} ${JSON.stringify(total)}\n`);
    expect(steps).toBeGreaterThan(0);
  },
  2 ** 30,
);
