import { describe, expect, test } from "@jest/globals";
import { KeyFleet, type FleetOptions } from "../support/key-fleet.js";

const day = 86_400_000;
const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 32));

async function twoYears(options: Omit<FleetOptions, "seed" | "replicas">): Promise<KeyFleet> {
  process.stdout.write(`key simulation: SEED=${seed}\n`);
  const fleet = new KeyFleet({ seed, replicas: 10, ...options });
  await fleet.run(730 * day);
  fleet.useKeyFile();
  await fleet.run(30 * day);
  if (process.env["DEBUG"]) process.stdout.write(`${JSON.stringify(fleet.counts)}\n`);
  return fleet;
}

describe("two years of rotations over 10 replicas", () => {
  test("with clocks set back by an hour", async () => {
    const fleet = await twoYears({
      intervalsSeconds: [86_400, 3 * 86_400],
      tokenTtlsSeconds: [3600, 7200, 86_400],
      clocksSetBack: true,
      paceMs: 3_600_000,
    });
    expect(fleet.counts.rotations).toBeGreaterThan(600);
    expect(fleet.counts.refused).toBeLessThan(fleet.counts.tokens / 10);
    expect(fleet.remaining).toEqual([]);
  });
});
