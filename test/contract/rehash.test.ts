/** Weak hashes replaced after a login, on the stores themselves. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "@jest/globals";
import { hash as bcrypt } from "@node-rs/bcrypt";
import { AuthError } from "../../src/auth/errors.js";
import { hashPassword, inspectHash, verifyPassword } from "../../src/auth/passwords/passwords.js";
import { createRehasher } from "../../src/auth/passwords/rehash.js";
import type { UserStore } from "../../src/auth/users.js";
import { basic, createHttpClient } from "../support/http.js";
import { startService } from "../support/service.js";
import { storeNames, useStores } from "../support/stores.js";
import { newUser } from "../support/users.js";

const weak = await bcrypt("password", 4);
const alice = newUser({ passwordHash: weak });
const stores = useStores();
const fail = (error: unknown) => {
  throw error;
};

async function storedHash(users: UserStore): Promise<string> {
  return (await users.findByUsername("alice"))?.passwordHash ?? "";
}

describe.each(storeNames)("%s", (name) => {
  test("a weak hash is replaced by one of ours, which is then kept", async () => {
    const { users } = await stores.open(await stores.newPlace(name));
    await users.add(alice);
    const rehasher = createRehasher({ users, onError: fail });
    rehasher.loggedIn(alice, "password");
    await rehasher.settled();
    const replaced = await storedHash(users);
    expect(inspectHash(replaced)).toMatchObject({ family: "argon2id", weak: false });
    expect(await verifyPassword(replaced, "password")).toBe(true);
    rehasher.loggedIn({ ...alice, passwordHash: replaced }, "password");
    await rehasher.settled();
    expect(await storedHash(users)).toBe(replaced);
  });

  test("of 50 logins racing with a password change, the change survives", async () => {
    const { users } = await stores.open(await stores.newPlace(name));
    await users.add(alice);
    const changed = await hashPassword("another password");
    const hashes = Array.from({ length: 50 }, () => hashPassword("password"));
    // As many replicas, half of which write before the change and half after it.
    const rehashers = hashes.map((hash, i) =>
      createRehasher({
        users,
        onError: fail,
        hash: async () => {
          if (i >= 25) await changing;
          return hash;
        },
      }),
    );
    let change: () => void = () => undefined;
    const changing = new Promise<void>((resolve) => (change = resolve));
    for (const rehasher of rehashers) rehasher.loggedIn(alice, "password");
    await Promise.race(rehashers.slice(0, 25).map((rehasher) => rehasher.settled()));
    expect(await users.update(alice.id, { passwordHash: changed })).toBe(true);
    change();
    await Promise.all(rehashers.map((rehasher) => rehasher.settled()));
    expect(await storedHash(users)).toBe(changed);
  });

  test("50 racing logins of the service and a password change: the change survives", async () => {
    const service = await startService(await stores.newPlace(name), [alice]);
    const clients = Array.from({ length: 50 }, () => createHttpClient(service.url));
    try {
      const changed = await hashPassword("another password");
      const headers = { authorization: basic("alice", "password") };
      const logins = clients.map((client) => client.call("/api/auth/token", { headers }));
      expect((await Promise.race(logins)).status).toBe(200);
      await service.store.users.update(alice.id, { passwordHash: changed });
      await Promise.all(logins);
      await sleep(50);
      expect(await storedHash(service.store.users)).toBe(changed);
    } finally {
      clients.forEach((client) => client.close());
      await service.close();
    }
  });

  test.each([
    ["on", "argon2id"],
    ["off", "bcrypt"],
  ])("REHASH=%s: after a login the hash is %s", async (REHASH, family) => {
    const env = { ...(await stores.newPlace(name)), REHASH };
    const service = await startService(env, [alice]);
    const client = createHttpClient(service.url);
    const headers = { authorization: basic("alice", "password") };
    expect((await client.call("/api/auth/token", { headers })).status).toBe(200);
    client.close();
    await service.close();
    const { users } = await stores.open(env);
    expect(inspectHash(await storedHash(users)).family).toBe(family);
  });
});

test("a failed write is reported and the next login tries again", async () => {
  const errors: unknown[] = [];
  let calls = 0;
  const rehasher = createRehasher({
    users: {
      replacePasswordHash: () => {
        calls++;
        return Promise.reject(new AuthError("store_unavailable", "down"));
      },
    },
    onError: (error) => errors.push(error),
  });
  rehasher.loggedIn(alice, "password");
  expect(calls).toBe(0);
  await rehasher.settled();
  rehasher.loggedIn(alice, "password");
  await rehasher.settled();
  expect(errors).toHaveLength(2);
  expect(calls).toBe(2);
});
