/** Users for tests. */
import type { User } from "../../src/auth/users.js";

/** A default user with `differences`. */
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

/** The user in the documents of the REST paths, as the old server stored it. */
export const seedUser = newUser({
  id: { type: "int", value: "1" },
  username: "TestUser",
  passwordHash:
    "$argon2id$v=19$m=16384,t=2,p=1$bmljZS1zYWx0LTEyMzQ1Ng$q1zUvGDAn5dWz5gCm0xM8b3hkLwq0jHnXJqz7pU9d0E",
});
