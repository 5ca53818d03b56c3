import { expect, test } from "@jest/globals";
import { createHashWidth } from "../../src/app/hash-width.js";

test("a renewal narrows it at once, a second without one widens it", async () => {
  let nowMs = 0;
  const width = createHashWidth({ busy: 1, quiet: 2, now: () => nowMs });
  expect(width.current()).toBe(2);
  const verified = { subject: "1", issuedAtSeconds: 0, authTimeSeconds: 0 };
  const tokens = width.noticing({
    issue: () => Promise.reject(new Error("not a renewal")),
    verify: () => Promise.resolve(verified),
  });
  await expect(tokens.verify("token")).resolves.toBe(verified);
  expect(width.current()).toBe(1);
  nowMs += 900;
  await tokens.verify("token");
  nowMs += 999;
  expect(width.current()).toBe(1);
  nowMs += 1;
  expect(width.current()).toBe(2);
});
