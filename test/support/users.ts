/** Users for tests. */
import type { User } from "../../src/auth/users.js";

/** A user like any other but for `differences`. */
export function newUser(differences: Partial<User> = {}): User {
  return {
    id: { type: "int", value: "7" },
    username: "alice",
    passwordHash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
    disabled: false,
    roles: [],
    tokensValidAfter: undefined,
    ...differences,
  };
}

/** The user of the documents that the REST paths come from, as the old server stored him. */
export const seedUser = newUser({
  id: { type: "int", value: "1" },
  username: "TestUser",
  passwordHash:
    "$argon2id$v=19$m=16384,t=2,p=1$bmljZS1zYWx0LTEyMzQ1Ng$q1zUvGDAn5dWz5gCm0xM8b3hkLwq0jHnXJqz7pU9d0E",
});
