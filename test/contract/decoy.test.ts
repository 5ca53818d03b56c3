/** The decoy follows the hashes of the collection, on the stores themselves. */
import { describe, expect, test } from "@jest/globals";
import { createDecoyCensus } from "../../src/auth/passwords/decoy-census.js";
import { createDecoy, inspectHash } from "../../src/auth/passwords/passwords.js";
import type { Store } from "../../src/store/store.js";
import { storeNames, useStores } from "../support/stores.js";
import { newUser } from "../support/users.js";

const bcrypt = "$2b$05$u20VBwsot1oJi.pHspQ2FeLqF6KpWrbwgDdwRbmVtkUpNQ3hq7Oz6";
const django =
  "pbkdf2_sha256$1000$utFwuspS5BKQ5wiVW3cn56$HYqnf/5trZ6ANvx4GhZVZZw4FkceGTo1VYScZczAUfs=";
const names = Array.from({ length: 400 }, (_, i) => `nobody${i}`);
const stores = useStores();
const fail = (error: unknown) => {
  throw error;
};

async function decoyFamilies(store: Store): Promise<(string | undefined)[]> {
  const decoy = createDecoy((name) => name);
  const secret = () => store.secret();
  const census = createDecoyCensus({ users: store.users, decoy, secret, onError: fail });
  await census.start();
  census.stop();
  return names.map((name) => inspectHash(decoy.hashFor(name)).family);
}

describe.each(storeNames)("%s", (name) => {
  test("unknown names cost what the users' hashes cost, in proportion, on every replica", async () => {
    const place = await stores.newPlace(name);
    const store = await stores.open(place);
    expect(new Set(await decoyFamilies(store))).toEqual(new Set(["argon2id"]));
    const users = Array.from({ length: 400 }, (_, i) =>
      newUser({
        id: { type: "int", value: String(i) },
        username: `user${i}`,
        passwordHash: i % 4 === 0 ? django : i === 1 ? undefined : bcrypt,
      }),
    );
    const options = { onConflict: "fail", replacedAt: new Date(0), dryRun: false } as const;
    await store.users.import(users, options);
    const [ours, others] = [
      await decoyFamilies(store),
      await decoyFamilies(await stores.open(place)),
    ];
    const share = (families: typeof ours) =>
      families.filter((family) => family === "bcrypt").length / families.length;
    expect(share(ours)).toBeGreaterThan(0.6);
    expect(share(ours)).toBeLessThan(0.9);
    expect(new Set(ours)).toEqual(new Set(["bcrypt", "pbkdf2 (Django)"]));
    // They drew their own samples, but share the secret: most names cost the same on both.
    const same = ours.filter((family, i) => family === others[i]).length / names.length;
    expect(same).toBeGreaterThan(0.8);
  });

  test("a sample is of about the size asked for, and empty where nobody is", async () => {
    const store = await stores.open(await stores.newPlace(name));
    expect(await store.users.sampleHashes(200)).toEqual([]);
    await store.users.add(newUser({ passwordHash: bcrypt }));
    expect(new Set(await store.users.sampleHashes(200))).toEqual(new Set([bcrypt]));
  });

  test("the secret is kept and shared", async () => {
    const place = await stores.newPlace(name);
    const racing = await Promise.all([stores.open(place), stores.open(place)]);
    const [one, two] = await Promise.all(racing.map((store) => store.secret()));
    expect(Buffer.from(one ?? []).toString("hex")).toHaveLength(64);
    expect(one).toEqual(two);
    expect(await (await stores.open(place)).secret()).toEqual(one);
  });
});
