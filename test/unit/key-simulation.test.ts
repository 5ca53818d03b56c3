import { describe, expect, test } from "@jest/globals";
import { KeyFleet, type FleetOptions } from "../support/key-fleet.js";

const day = 86_400_000;
/** A tenth of the days; all of them in `npm run test:long`. */
const scale = process.env["LONG"] ? 1 : 0.1;
const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 32));

async function simulate(days: number, options: Omit<FleetOptions, "seed">): Promise<KeyFleet> {
  process.stdout.write(`key simulation: SEED=${seed}\n`);
  const fleet = new KeyFleet({ seed, ...options });
  await fleet.run(Math.ceil(days * scale) * day);
  fleet.useKeyFile();
  await fleet.run(30 * day);
  process.stdout.write(`key simulation: ${JSON.stringify(fleet.counts)}\n`);
  return fleet;
}

describe("no live token is unverifiable and no key signs outside its state", () => {
  test("over 10 replicas, clocks set back by an hour among them", async () => {
    const fleet = await simulate(730, {
      replicas: 10,
      intervalsSeconds: [2 * 86_400, 5 * 86_400],
      tokenTtlsSeconds: [3600, 7200, 86_400],
      clocksSetBack: true,
      paceMs: 7_200_000,
    });
    expect(fleet.counts.rotations).toBeGreaterThan(200 * scale);
    expect(fleet.counts.refused).toBeLessThan(fleet.counts.tokens / 10);
    expect(fleet.remaining).toEqual([]);
  });

  test("while replicas are configured to intervals from 20 minutes to 12 hours", async () => {
    const fleet = await simulate(30, {
      replicas: 4,
      intervalsSeconds: [1200, 7200, 43_200],
      tokenTtlsSeconds: [600, 3600],
      clocksSetBack: false,
      paceMs: 600_000,
    });
    expect(fleet.counts.rotations).toBeGreaterThan(200 * scale);
    expect(fleet.counts.refused).toBeLessThan(fleet.counts.tokens / 10);
    expect(fleet.remaining).toEqual([]);
  });
});
