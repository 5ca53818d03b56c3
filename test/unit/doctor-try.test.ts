/** What `doctor --try` says of a login, and that it neither counts nor writes. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { hashPassword } from "../../src/auth/passwords/passwords.js";
import type { User } from "../../src/auth/users.js";
import { tryLogin } from "../../src/cli/doctor-try.js";
import { parseConfig } from "../../src/config/config.js";
import { openStore } from "../../src/store/open-store.js";
import type { Store } from "../../src/store/store.js";
import { newUser } from "../support/users.js";

const password = "correct horse battery";
const dataDir = mkdtempSync(join(tmpdir(), "latchkey-try-"));
const config = parseConfig({ DATA_DIR: dataDir });
let store: Store;
let users: User[];
beforeAll(async () => {
  store = await openStore(config);
  const passwordHash = await hashPassword(password);
  const user = (username: string, value: string, differences: Partial<User> = {}) =>
    newUser({ id: { type: "int", value }, username, passwordHash, ...differences });
  users = [
    user("good", "1"),
    user("disabled", "2", { disabled: true }),
    user("none", "3", { passwordHash: undefined }),
    user("odd", "4", { passwordHash: "plain" }),
    user("costly", "5", {
      passwordHash:
        "$argon2id$v=19$m=4194304,t=2,p=1$bmljZS1zYWx0LTEyMzQ1Ng$q1zUvGDAn5dWz5gCm0xM8b3hkLwq0jHnXJqz7pU9d0E",
    }),
    user("twin", "6"),
    user("other twin", "6", { id: { type: "string", value: "6" } }),
    user("future", "7", { tokensValidAfter: new Date("2999-01-01T00:00:00Z") }),
  ];
  for (const each of users) await store.users.add(each);
});
afterAll(async () => {
  await store.close();
  rmSync(dataDir, { recursive: true });
});

test.each([
  ["good", password, "ok", "would log in"],
  ["good", "another", "error", "the password is wrong"],
  ["good", `${password}\0`, "error", "the password is wrong"],
  ["ghost", password, "error", 'there is no user "ghost"'],
  ["disabled", password, "error", "disabled, by disabled"],
  ["none", password, "error", "has no password hash"],
  ["odd", password, "error", "cannot be used"],
  ["costly", password, "error", "costs more than a login may"],
  ["twin", password, "error", "two users have the subject 6"],
  ["future", password, "error", "in the future"],
])("%s with %j: %s, %s", async (username, given, level, text) => {
  const trial = { store, config, clock: { now: Date.now }, username, password: given };
  const findings = [];
  for await (const finding of tryLogin(trial)) findings.push(finding);
  expect(findings).toMatchObject([{ level, message: expect.stringContaining(text) }]);
  if (level === "error") expect(findings[0]?.remedy).toBeDefined();
  expect(JSON.stringify(findings)).not.toContain(given);
  const counted = [];
  for await (const entry of store.throttle.list()) counted.push(entry);
  expect(counted).toEqual([]);
  const stored = [];
  for await (const user of store.users.list()) stored.push(user);
  const byName = (a: User, b: User) => a.username.localeCompare(b.username);
  expect(stored.sort(byName)).toEqual([...users].sort(byName));
});
