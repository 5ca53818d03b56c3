/** One hash of every family, made by others, as users of a collection: doctor's count and the logins agree. */
import { expect, test } from "@jest/globals";
import { MongoClient } from "mongodb";
import { takeCensus } from "../../src/auth/passwords/census.js";
import { families } from "../../src/auth/passwords/families.js";
import type { Environment } from "../../src/config/config.js";
import { hashVectors } from "../support/hash-vectors.js";
import { createHttpClient } from "../support/http.js";
import { startService } from "../support/service.js";
import { useStores } from "../support/stores.js";

const stores = useStores();

test("of every family one user logs in, with his password and no other", async () => {
  const env: Environment = { ...(await stores.newPlace("mongodb")), THROTTLE_FAILURES: "0" };
  const users = families.map(({ name }) => {
    const vector = hashVectors.find(({ family }) => family === name);
    if (vector === undefined) throw new Error(`no vector of ${name}`);
    return { username: name, passwordHash: vector.hash, password: vector.password };
  });
  const client = new MongoClient(env["MONGODB_URI"] ?? "");
  const documents = users.map(({ username, passwordHash }, i) => ({
    username,
    // As a CHAR column and a line of a file leave them.
    passwordHash: i % 2 === 0 ? `${passwordHash}\n` : passwordHash.padEnd(passwordHash.length + 9),
  }));
  await client.db().collection("users").insertMany(documents);
  await client.close();
  const service = await startService(env, []);
  const http = createHttpClient(service.url);
  try {
    const census = await takeCensus(service.store.users, () => undefined);
    const unsure = ["pbkdf2 (passport-local-mongoose)"];
    expect(census.canLogIn + census.assumed).toBe(families.length);
    expect(census.hashes.filter(({ assumed }) => assumed).map(({ family }) => family)).toEqual(
      unsure,
    );
    const statusOf = async (username: string, password: string) => {
      const body = JSON.stringify({ username, password });
      return (await http.call("/api/v1/authentication/login", { body })).status;
    };
    for (const { username, password } of users) {
      const statuses = [
        await statusOf(username, password),
        await statusOf(username, `${password}x`),
      ];
      expect([username, ...statuses]).toEqual([username, 200, 401]);
    }
  } finally {
    http.close();
    await service.close();
  }
});
