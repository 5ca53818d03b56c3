import { expect, test } from "@jest/globals";
import { createHashWidth } from "../../src/auth/gate/hash-width.js";

test("a renewal narrows it at once, a second without one widens it", () => {
  let nowMs = 0;
  const width = createHashWidth({ busy: 1, quiet: 2, now: () => nowMs });
  expect(width.current()).toBe(2);
  width.onRenewal();
  expect(width.current()).toBe(1);
  nowMs += 900;
  width.onRenewal();
  nowMs += 999;
  expect(width.current()).toBe(1);
  nowMs += 1;
  expect(width.current()).toBe(2);
});
