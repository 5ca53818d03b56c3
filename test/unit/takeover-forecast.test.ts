/** The progress of a take-over: the forecast, and what counting costs others. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import { forecastOf, readProgress } from "../../src/takeover/progress.js";
import { openEmbeddedStore } from "../../src/store/embedded/embedded-store.js";
import { newUser } from "../support/users.js";

const nowMs = Date.parse("2026-11-28T12:00:00Z");
/** Of 100 logins on each of the last days, how many were the user's first. */
const forecastFor = (...first: number[]) =>
  forecastOf(
    first.map((each, i) => ({
      day: new Date(nowMs - (first.length - 1 - i) * 86_400_000).toISOString().slice(0, 10),
      counts: { first: each, known: 100 - each },
    })),
    nowMs,
  );

test.each([
  ["a share that halves each day", [36, 18, 9], "2026-11-29", "2026-12-02"],
  ["one that is small enough for 95 alone", [8, 6, 4], "2026-11-28", "2026-12-03"],
  ["nobody unknown any more", [0, 0, 0], "2026-11-28", "2026-11-28"],
  ["a share that does not shrink", [30, 30, 30], null, null],
  ["one that grows", [10, 20, 40], null, null],
  ["a single day", [50], null, null],
  ["no day", [], null, null],
])("%s", (_, first, in95, in99) => {
  expect(forecastFor(...first)).toEqual({ "95": in95, "99": in99 });
});

test("others get their turn while the users of the embedded store are counted", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "latchkey-"));
  const store = await openEmbeddedStore({ dataDir });
  const users = {
    async *list() {
      for (let i = 0; i < 2000; i++) yield await Promise.resolve(newUser());
    },
  };
  let turns = 0;
  const timer = setInterval(() => turns++, 0);
  expect((await readProgress(store.takeover, users, nowMs)).users).toBe(2000);
  clearInterval(timer);
  expect(turns).toBeGreaterThan(1);
  await store.close();
  rmSync(dataDir, { recursive: true });
});
