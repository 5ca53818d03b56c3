/** The stock that `doctor` takes of the users, where their number and variety could make it grow. */
import { expect, test } from "@jest/globals";
import { takeCensus } from "../../src/auth/passwords/census.js";
import type { User } from "../../src/auth/users.js";
import { newUser } from "../support/users.js";

const usersOf = (users: readonly User[]) => ({
  // eslint-disable-next-line @typescript-eslint/require-await
  async *records() {
    for (const user of users) yield { user, id: user.id.value, notes: [] };
  },
  existing: () => Promise.resolve([]),
});
const withHash = (passwordHash: string) => newUser({ passwordHash });

test("costs drawn at random are told apart up to a number, and every user is counted", async () => {
  const salted = "$saltsaltsaltsalt$" + "a".repeat(86);
  const users = Array.from({ length: 2000 }, (_, i) =>
    withHash(i % 4 === 0 ? `$6$rounds=5000${salted}` : `$6$rounds=${10_000 + i}${salted}`),
  );
  const { hashes, canLogIn } = await takeCensus(usersOf(users), () => undefined);
  expect(canLogIn).toBe(2000);
  expect(hashes.length).toBeLessThan(60);
  expect(hashes.reduce((sum, group) => sum + group.users, 0)).toBe(2000);
  expect(hashes.slice(0, 2)).toMatchObject([
    { cost: {}, family: "sha512-crypt", weak: true },
    { cost: { rounds: 5000 }, users: 500 },
  ]);
});
