import { expect, test } from "@jest/globals";
import { StoreBudget } from "../../src/auth/store-budget.js";

const tick = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const unavailable = expect.objectContaining({ code: "store_unavailable" });
const never = () => new Promise<never>(() => undefined);

test("all calls together have one deadline", async () => {
  let nowMs = 0;
  const budget = new StoreBudget(1000, () => nowMs);
  const taking = async (ms: number) => {
    await Promise.resolve();
    nowMs += ms;
    return ms;
  };
  await expect(budget.during(taking(600))).resolves.toBe(600);
  await expect(budget.during(taking(600))).resolves.toBe(600);
  await expect(budget.during(never())).rejects.toEqual(unavailable);
});

test("a wait for others is not counted", async () => {
  const budget = new StoreBudget(50, () => performance.now());
  const waiting = async () => {
    await Promise.resolve();
    budget.pause();
    await tick(100);
    budget.resume();
    return "done";
  };
  await expect(budget.during(waiting())).resolves.toBe("done");
  await expect(budget.during(never())).rejects.toEqual(unavailable);
});
