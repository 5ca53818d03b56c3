/**
 * What every store promises, sentence by sentence of the ports in `src/auth`: the same tests for each.
 */
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { Account, ImportConflict, User, UserId, UserIdType } from "../../src/auth/users.js";
import type { Store } from "../../src/store/store.js";
import { newUser, seedUser } from "../support/users.js";

/** A new, empty store. */
export interface StorePlace {
  /** Opens it, any number of times at once. */
  open(): Promise<Store>;
  dispose(): Promise<void>;
}

type NewPlace = () => Promise<StorePlace>;

const intId = (value: number | string): UserId => ({ type: "int", value: String(value) });
const stringId = (value: string): UserId => ({ type: "string", value });
const numbered = (i: number, more: Partial<User> = {}) =>
  newUser({ id: intId(i), username: `user${i}`, ...more });
const times = <T>(count: number, make: (i: number) => T) =>
  Array.from({ length: count }, (_, i) => make(i));
const count = <T>(values: readonly T[], wanted: T) =>
  values.filter((value) => value === wanted).length;

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

function useStores(newPlace: NewPlace) {
  const open: Store[] = [];
  let place: StorePlace | undefined;
  const stores = {
    async another(): Promise<Store> {
      if (place === undefined) throw new Error("no test is running");
      const store = await place.open();
      open.push(store);
      return store;
    },
    store: {} as Store,
  };
  beforeEach(async () => {
    place = await newPlace();
    stores.store = await stores.another();
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((store) => store.close()));
    await place?.dispose();
  });
  return stores;
}

const ids: [UserIdType, string][] = [
  ["int", "0"],
  ["int", "1"],
  ["int", "-5"],
  ["int", "2147483647"],
  ["int", "2147483648"],
  ["int", "-2147483649"],
  ["int", "9007199254740991"],
  ["int", "9007199254740993"],
  ["int", "9223372036854775807"],
  ["int", "-9223372036854775808"],
  ["string", "a string"],
  ["string", "01"],
  ["string", "-0"],
  ["string", "9223372036854775808"],
  ["string", "nul\0nul"],
  ["string", "ä".repeat(3000)],
  ["objectid", "65f1c0ffee65f1c0ffee65f1"],
  ["uuid", "0190f5b2-7c1e-7a3b-9d4e-2f1a3b4c5d6e"],
];

const strangers = [
  "",
  "alic",
  "ALICE",
  "alice ",
  "\ufeffalice",
  "alice\0",
  "al\ud800ice",
  "x".repeat(9000),
].map((username): [string] => [username]);

const nobodys = [
  ...["", "01", "+7", "7.0", " 7", "1e1", "7\0", "9223372036854775808"],
  "x".repeat(9000),
].map((subject): [string] => [subject]);

/** A row of a table with a title that fits on a line. */
const titled = <T extends string[]>(row: [...T]): [string, ...T] => [
  JSON.stringify(row.join(" ")).slice(0, 50),
  ...row,
];

function accountOf({ id, username, disabled, roles, tokensValidAfter }: User): Account {
  return { id, username, disabled, roles, tokensValidAfter };
}

export function runUserStoreContract(name: string, newPlace: NewPlace): void {
  describe(`${name}: users`, () => {
    const stores = useStores(newPlace);
    const users = () => stores.store.users;

    test.each(ids.map(titled))(
      "a user whose _id is the %s is found by name and by subject",
      async (_, type, value) => {
        const user = newUser({
          id: { type, value },
          disabled: true,
          roles: ["admin", "käse"],
          tokensValidAfter: new Date("2025-04-22T16:28:55.123Z"),
        });
        expect(await users().add(user)).toBe("added");
        expect(await users().findByUsername("alice")).toEqual(user);
        expect(await users().findBySubject(value)).toEqual(accountOf(user));
        expect(await collect(users().list())).toEqual([user]);
        expect(await users().update(user.id, { disabled: false })).toBe(true);
        expect(await users().findBySubject(value)).toEqual({ ...accountOf(user), disabled: false });
        expect(await users().remove(user.id)).toBe(true);
        expect(await users().findBySubject(value)).toBeUndefined();
      },
    );

    test("the user of the old server goes in and comes out as he was", async () => {
      expect(await users().import([seedUser], { ...failing, dryRun: false })).toEqual(["added"]);
      expect(await users().findByUsername("TestUser")).toEqual(seedUser);
      expect(await users().findBySubject("1")).toEqual(accountOf(seedUser));
    });

    test("a user without a hash has none", async () => {
      const user = newUser({ passwordHash: undefined });
      await users().add(user);
      expect(await users().findByUsername("alice")).toEqual(user);
      expect(await users().replacePasswordHash(user.id, "", "new")).toBe(false);
    });

    test("a hash is given only to a user who is there and has none", async () => {
      const user = newUser({ passwordHash: undefined });
      await users().add(user);
      expect(await users().replacePasswordHash(stringId("none"), undefined, "new")).toBe(false);
      expect(await users().replacePasswordHash(user.id, undefined, "$new")).toBe(true);
      expect(await users().replacePasswordHash(user.id, undefined, "$newer")).toBe(false);
      expect(await users().findByUsername("alice")).toEqual({ ...user, passwordHash: "$new" });
    });

    test.each(strangers.map(titled))("the username %s is nobody's", async (_, username) => {
      await users().add(newUser());
      await users().add(newUser({ id: intId(8), username: "al\ufffdice" }));
      expect(await users().findByUsername(username)).toBeUndefined();
    });

    test("usernames differ by code point", async () => {
      const names = [
        "alice",
        "ALICE",
        "e\u0301",
        "\u00e9",
        " ",
        "a\0b",
        "😀".repeat(256),
        "\ufeffalice",
        "$ne",
        "a.b",
      ];
      for (const [i, username] of names.entries()) {
        expect(await users().add(numbered(i, { username }))).toBe("added");
      }
      for (const [i, username] of names.entries()) {
        expect((await users().findByUsername(username))?.id).toEqual(intId(i));
      }
    });

    test.each(nobodys.map(titled))("the subject %s is nobody's", async (_, subject) => {
      await users().add(newUser());
      expect(await users().findBySubject(subject)).toBeUndefined();
    });

    test.each(ids.filter(([type]) => type !== "string").map(titled))(
      "two users with the subject of the %s are both refused",
      async (_, type, value) => {
        const [one, two] = [
          newUser({ id: { type, value } }),
          newUser({ id: stringId(value), username: "bob" }),
        ];
        expect(await users().add(one)).toBe("added");
        expect(await users().add(two)).toBe("added");
        expect(await users().findBySubject(value)).toBeUndefined();
        expect(await users().findByUsername("alice")).toEqual(one);
        expect(await users().findByUsername("bob")).toEqual(two);
        expect(await users().remove(one.id)).toBe(true);
        expect(await users().findBySubject(value)).toEqual(accountOf(two));
      },
    );

    test("add says what is taken, and leaves it alone", async () => {
      const user = newUser();
      await users().add(user);
      expect(await users().add(newUser({ username: "bob" }))).toBe("id_taken");
      expect(await users().add(newUser({ id: intId(8) }))).toBe("username_taken");
      expect(await users().add(newUser({ passwordHash: "other" }))).toBe("id_taken");
      expect(await collect(users().list())).toEqual([user]);
    });

    test("of fifty racing adds of one username, over two stores, one adds", async () => {
      const both = [users(), (await stores.another()).users] as const;
      const outcomes = await Promise.all(
        times(50, (i) => both[i % 2 === 0 ? 0 : 1].add(newUser({ id: intId(i) }))),
      );
      expect([count(outcomes, "added"), count(outcomes, "username_taken")]).toEqual([1, 49]);
      expect((await users().findByUsername("alice"))?.id).toEqual(intId(outcomes.indexOf("added")));
    });

    test("of fifty racing adds of one _id, over two stores, one adds", async () => {
      const both = [users(), (await stores.another()).users] as const;
      const outcomes = await Promise.all(
        times(50, (i) => both[i % 2 === 0 ? 0 : 1].add(newUser({ username: `user${i}` }))),
      );
      expect([count(outcomes, "added"), count(outcomes, "id_taken")]).toEqual([1, 49]);
      expect(await collect(users().list())).toHaveLength(1);
    });

    test("what one store writes the other sees at once", async () => {
      const other = (await stores.another()).users;
      expect(await other.findByUsername("alice")).toBeUndefined();
      await users().add(newUser());
      expect(await other.findByUsername("alice")).toEqual(newUser());
      await other.update(intId(7), { disabled: true });
      expect((await users().findBySubject("7"))?.disabled).toBe(true);
      await users().remove(intId(7));
      expect(await other.findByUsername("alice")).toBeUndefined();
    });

    test("an update changes what it names and nothing else", async () => {
      const user = newUser({ roles: ["a"], tokensValidAfter: new Date(1e12) });
      await users().add(user);
      await users().add(numbered(8));
      const changes = [
        {},
        { passwordHash: "$2b$10$other" },
        { disabled: true },
        { roles: ["b", "c"] },
        { roles: [] },
        { tokensValidAfter: new Date(2e12) },
        { passwordHash: "third", roles: ["d"], disabled: false, tokensValidAfter: new Date(3e12) },
      ];
      let expected = user;
      for (const change of changes) {
        expect(await users().update(user.id, change)).toBe(true);
        expected = { ...expected, ...change };
        expect(await users().findByUsername("alice")).toEqual(expected);
      }
      expect(await users().findByUsername("user8")).toEqual(numbered(8));
    });

    test.each([{}, { disabled: true }, { roles: ["a"] }])(
      "an update %j of nobody is false and adds nobody",
      async (change) => {
        expect(await users().update(intId(7), change)).toBe(false);
        expect(await users().update(stringId("7"), change)).toBe(false);
        expect(await collect(users().list())).toEqual([]);
      },
    );

    test("a hash is replaced only while the old one is stored", async () => {
      const user = newUser({ passwordHash: "old", tokensValidAfter: new Date(1e12) });
      await users().add(user);
      expect(await users().replacePasswordHash(user.id, "older", "new")).toBe(false);
      expect(await users().replacePasswordHash(stringId("7"), "old", "new")).toBe(false);
      expect(await users().findByUsername("alice")).toEqual(user);
      expect(await users().replacePasswordHash(user.id, "old", "$new")).toBe(true);
      expect(await users().findByUsername("alice")).toEqual({ ...user, passwordHash: "$new" });
    });

    test("of twenty racing replacements of one hash one writes", async () => {
      const other = (await stores.another()).users;
      await users().add(newUser({ passwordHash: "old" }));
      const wrote = await Promise.all(
        times(20, (i) => (i % 2 ? users() : other).replacePasswordHash(intId(7), "old", `new${i}`)),
      );
      expect(count(wrote, true)).toBe(1);
      expect((await users().findByUsername("alice"))?.passwordHash).toBe(
        `new${wrote.indexOf(true)}`,
      );
    });

    test("a removed user leaves nothing behind", async () => {
      await users().add(newUser());
      const removed = await Promise.all(times(5, () => users().remove(intId(7))));
      expect(count(removed, true)).toBe(1);
      expect(await users().findByUsername("alice")).toBeUndefined();
      expect(await users().add(newUser({ username: "bob" }))).toBe("added");
      expect(await users().add(newUser({ id: intId(8) }))).toBe("added");
    });

    test("the list has everybody once, and may be left early", async () => {
      const everybody = times(1200, (i) => numbered(i));
      expect(await users().import(everybody, { ...failing, dryRun: false })).toEqual(
        everybody.map(() => "added"),
      );
      const listed = await collect(users().list());
      expect(listed).toHaveLength(1200);
      expect(new Set(listed.map(({ id }) => id.value)).size).toBe(1200);
      for await (const user of users().list()) {
        expect(user.username).toMatch(/^user/);
        break;
      }
      let seen = 0;
      for await (const user of users().list()) {
        if (seen++ % 50 === 0) expect(await users().remove(user.id)).toBe(true);
      }
      expect(seen).toBe(1200);
      expect(await collect(users().list())).toHaveLength(1200 - 24);
    });

    importContract(users, () => stores.another());

    test("a closed store answers store_unavailable", async () => {
      const other = await stores.another();
      await other.close();
      await expect(other.users.findByUsername("alice")).rejects.toMatchObject({
        code: "store_unavailable",
      });
      await expect(other.users.add(newUser())).rejects.toMatchObject({ code: "store_unavailable" });
      await expect(other.ping()).rejects.toMatchObject({ code: "store_unavailable" });
      await expect(stores.store.ping()).resolves.toBeUndefined();
    });

    test("a new store has nothing to warn of", async () => {
      await users().add(newUser());
      expect(await stores.store.warnings()).toEqual([]);
    });
  });
}

const replacedAt = new Date("2026-01-02T03:04:05.000Z");
const failing = { onConflict: "fail", replacedAt } as const;

function importContract(users: () => Store["users"], another: () => Promise<Store>): void {
  const alice = newUser({ roles: ["a"], tokensValidAfter: new Date(1e12) });
  const bob = numbered(8, { username: "bob" });
  const matrix: [ImportConflict, string][] = [
    ["fail", "exists"],
    ["skip", "skipped"],
    ["replace", "replaced"],
  ];

  test.each(matrix)(
    "an import that is to %s has the outcomes of the dry run",
    async (onConflict, same) => {
      await users().add(alice);
      await users().add(bob);
      const again = newUser({ passwordHash: "new", disabled: true });
      const batch = [
        numbered(1),
        again,
        newUser({ username: "carol" }),
        newUser({ id: intId(9) }),
        newUser({ id: intId(8) }),
        newUser({ id: stringId("7"), username: "dora" }),
      ];
      const expected = ["added", same, "id_taken", "username_taken", "id_taken", "added"];
      const options = { onConflict, replacedAt };
      expect(await users().import(batch, { ...options, dryRun: true })).toEqual(expected);
      expect(await users().findByUsername("alice")).toEqual(alice);
      expect(await collect(users().list())).toHaveLength(2);
      expect(await users().import(batch, { ...options, dryRun: false })).toEqual(expected);
      expect(await users().findByUsername("alice")).toEqual(
        onConflict === "replace" ? { ...again, tokensValidAfter: replacedAt } : alice,
      );
      expect(await users().findByUsername("bob")).toEqual(bob);
      expect(await users().findByUsername("carol")).toBeUndefined();
      expect(await collect(users().list())).toHaveLength(4);
    },
  );

  test.each([
    ["another hash", { passwordHash: "new" }, replacedAt],
    ["the same hash", { roles: ["b"], tokensValidAfter: new Date(5e12) }, new Date(1e12)],
    ["no roles", { roles: [] }, new Date(1e12)],
  ])("a replacement by %s is whole", async (_, differences, tokensValidAfter) => {
    await users().add(alice);
    const next = { ...alice, ...differences };
    const options = { onConflict: "replace", replacedAt, dryRun: false } as const;
    expect(await users().import([next], options)).toEqual(["replaced"]);
    expect(await users().findByUsername("alice")).toEqual({ ...next, tokensValidAfter });
  });

  test("a replacement without a hash keeps the stored one, and revokes nothing", async () => {
    await users().add(alice);
    const options = { onConflict: "replace", replacedAt, dryRun: false } as const;
    const next = { ...alice, roles: ["b"], passwordHash: undefined };
    expect(await users().import([next, next], options)).toEqual(["replaced", "replaced"]);
    expect(await users().findByUsername("alice")).toEqual({ ...alice, roles: ["b"] });
  });

  test("an import keeps the revocation of a user it adds", async () => {
    expect(await users().import([alice], { ...failing, dryRun: false })).toEqual(["added"]);
    expect(await users().findByUsername("alice")).toEqual(alice);
  });

  test("a replacement keeps what it leaves open, and a new user is enabled without roles", async () => {
    await users().add(newUser({ disabled: true, roles: ["old"] }));
    const options = { onConflict: "replace", replacedAt, dryRun: false } as const;
    const open = { disabled: undefined, roles: undefined };
    const bob = newUser({ id: intId(8), username: "bob" });
    const lines = [
      { ...newUser({ passwordHash: "new" }), ...open },
      { ...bob, ...open },
    ];
    expect(await users().import(lines, options)).toEqual(["replaced", "added"]);
    expect(await users().findByUsername("alice")).toMatchObject({
      ...{ passwordHash: "new", disabled: true, roles: ["old"] },
    });
    expect(await users().findByUsername("bob")).toMatchObject({ disabled: false, roles: [] });
  });

  test("a replacement without a change of hash revokes nothing", async () => {
    const user = newUser();
    await users().add(user);
    const options = { onConflict: "replace", replacedAt, dryRun: false } as const;
    expect(await users().import([{ ...user, disabled: true }], options)).toEqual(["replaced"]);
    expect(await users().findByUsername("alice")).toEqual({ ...user, disabled: true });
  });

  test.each([
    ["fail", ["added", "exists", "id_taken", "username_taken", "added", "exists"], "one"],
    ["skip", ["added", "skipped", "id_taken", "username_taken", "added", "skipped"], "one"],
    ["replace", ["added", "replaced", "id_taken", "username_taken", "added", "replaced"], "two"],
  ] as const)("an import that is to %s meets its own users", async (onConflict, expected, hash) => {
    const batch = [
      newUser({ passwordHash: "one" }),
      newUser({ passwordHash: "two" }),
      newUser({ username: "bob" }),
      newUser({ id: intId(8) }),
      numbered(9),
      numbered(9),
    ];
    const options = { onConflict, replacedAt };
    expect(await users().import(batch, { ...options, dryRun: true })).toEqual(expected);
    expect(await collect(users().list())).toEqual([]);
    expect(await users().import(batch, { ...options, dryRun: false })).toEqual(expected);
    expect(await users().findByUsername("alice")).toEqual(
      newUser({ passwordHash: hash, tokensValidAfter: hash === "two" ? replacedAt : undefined }),
    );
    expect(await collect(users().list())).toHaveLength(2);
  });

  test("a refused user of an import is in nobody's way", async () => {
    await users().add(alice);
    const batch = [
      newUser({ id: intId(1) }),
      numbered(1, { username: "bob" }),
      numbered(2, { username: "bob" }),
      numbered(3),
      newUser({ id: intId(4) }),
    ];
    const expected = ["username_taken", "added", "username_taken", "added", "username_taken"];
    expect(await users().import(batch, { ...failing, dryRun: true })).toEqual(expected);
    expect(await users().import(batch, { ...failing, dryRun: false })).toEqual(expected);
    expect((await users().findByUsername("bob"))?.id).toEqual(intId(1));
    expect(await collect(users().list())).toHaveLength(3);
  });

  test("racing imports of the same users add each of them once", async () => {
    const other = (await another()).users;
    const batch = times(50, (i) => numbered(i));
    const options = { ...failing, dryRun: false };
    const outcomes = await Promise.all(
      times(6, (i) => (i % 2 ? users() : other).import(batch, options)),
    );
    for (const i of batch.keys()) {
      const each = outcomes.map((outcome) => outcome[i]);
      expect([count(each, "added"), count(each, "exists")]).toEqual([1, 5]);
    }
    expect(await collect(users().list())).toHaveLength(50);
  });

  test("racing replacements and rehashes of one user leave one of the hashes", async () => {
    await users().add(newUser({ passwordHash: "old" }));
    const options = { onConflict: "replace", replacedAt, dryRun: false } as const;
    const [wrote, ...outcomes] = await Promise.all([
      users().replacePasswordHash(intId(7), "old", "rehashed"),
      ...times(4, (i) => users().import([newUser({ passwordHash: `imported${i}` })], options)),
    ]);
    expect(typeof wrote).toBe("boolean");
    expect(outcomes.flat()).toEqual(times(4, () => "replaced"));
    const user = await users().findByUsername("alice");
    expect(user?.passwordHash).toMatch(/^imported/);
    expect(user?.tokensValidAfter).toEqual(replacedAt);
  });

  test("an empty import is none", async () => {
    expect(await users().import([], { ...failing, dryRun: false })).toEqual([]);
  });
}

export function runKeyStoreContract(name: string, newPlace: NewPlace): void {
  describe(`${name}: keys`, () => {
    const stores = useStores(newPlace);
    const keys = () => stores.store.keys;

    test("a new store has none", async () => {
      expect(await keys().load()).toEqual({ version: 0, document: undefined });
      expect(await keys().save("{}", 1)).toBe(false);
      expect(await keys().load()).toEqual({ version: 0, document: undefined });
    });

    test("a document is written over the version that it was made from, and over no other", async () => {
      const long = JSON.stringify({ keys: "😀\0".repeat(100_000) });
      const other = (await stores.another()).keys;
      expect(await keys().save("one", 0)).toBe(true);
      expect(await other.load()).toMatchObject({ version: 1, document: "one" });
      for (const version of [0, 2, -1]) expect(await other.save("stale", version)).toBe(false);
      expect(await other.save(long, 1)).toBe(true);
      expect(await keys().load()).toMatchObject({ version: 2, document: long });
    });

    test.each([0, 1])("of twenty racing saves over version %d one writes", async (version) => {
      const other = (await stores.another()).keys;
      if (version > 0) await keys().save("first", 0);
      const wrote = await Promise.all(
        times(20, (i) => (i % 2 ? keys() : other).save(`racer${i}`, version)),
      );
      expect(count(wrote, true)).toBe(1);
      const document = `racer${wrote.indexOf(true)}`;
      expect(await keys().load()).toMatchObject({ version: version + 1, document });
    });
  });
}
