/** When two usernames are one: the same verdicts on both stores. */
import { describe, expect, test } from "@jest/globals";
import { usernameKeyOf, usernameMatches } from "../../src/auth/usernames.js";
import { storeNames, useStores } from "../support/stores.js";
import { newUser } from "../support/users.js";

const stores = useStores();

/** A stored name, another one, and by which settings they are one. */
const table: readonly [string, string, ...(readonly boolean[])][] = [
  // exact, ignore-case, ignore-case-and-accents
  ["TestUser", "TestUser", true, true, true],
  ["TestUser", "testuser", false, true, true],
  ["TestUser", "TESTUSER", false, true, true],
  ["TestUser", "TéstUsér", false, false, true],
  ["TestUser", "TestUser ", false, false, false],
  ["TestUser", "Test-User", false, false, false],
  ["müller", "MÜLLER", false, true, true],
  ["müller", "mu\u0308ller", false, true, true],
  ["müller", "muller", false, false, true],
  ["müller", "mueller", false, false, false],
  ["ﬁnn", "finn", false, true, true],
  ["Ἀθηνᾶ", "αθηνα", false, false, true],
  ["ΣΊΣΥΦΟΣ", "σίσυφος", false, true, true],
  ["Ёжик", "ежик", false, false, true],
  ["ЁЖИК", "ёжик", false, true, true],
  ["Nguyễn", "nguyen", false, false, true],
  ["NGUYỄN", "nguyễn", false, true, true],
  ["İpek", "ipek", false, false, true],
  ["한글", "한글".normalize("NFD"), false, true, true],
  ["李明", "李朋", false, false, false],
  ["a.b", "a_b", false, false, false],
];

describe.each(storeNames)("%s", (name) => {
  test.each(usernameMatches.map((match, i) => [match, i] as const))(
    "%s",
    async (match, i) => {
      for (const [stored, asked, ...verdicts] of table) {
        const env = { ...(await stores.newPlace(name)), USERNAME_MATCH: match };
        const { users } = await stores.open(env);
        await users.add(newUser({ username: stored }));
        const found = await users.findByUsername(asked);
        const other = newUser({ username: asked, id: { type: "int", value: "8" } });
        const added = await users.add(other);
        expect([stored, asked, found?.username, added]).toEqual(
          verdicts[i]
            ? [stored, asked, stored, "username_taken"]
            : [stored, asked, undefined, "added"],
        );
      }
    },
    120_000,
  );

  test("an import meets a name that is written otherwise, and may replace it", async () => {
    const env = { ...(await stores.newPlace(name)), USERNAME_MATCH: "ignore-case" };
    const { users } = await stores.open(env);
    await users.add(newUser());
    const respelled = newUser({ username: "Alice", roles: ["a"] });
    const stranger = newUser({ username: "ALICE", id: { type: "int", value: "9" } });
    const replacedAt = new Date(0);
    const options = { onConflict: "replace", replacedAt, dryRun: false } as const;
    expect(await users.import([respelled, stranger], options)).toEqual([
      "replaced",
      "username_taken",
    ]);
    expect(await users.findByUsername("aLICE")).toEqual(respelled);
  });

  test("ids are never compared by the collation", async () => {
    const env = { ...(await stores.newPlace(name)), USERNAME_MATCH: "ignore-case-and-accents" };
    const { users } = await stores.open(env);
    const named = (id: string) =>
      newUser({ username: `user ${id === "A"}`, id: { type: "string", value: id } });
    expect(await users.add(named("A"))).toBe("added");
    expect(await users.add(named("a"))).toBe("added");
    expect((await users.findBySubject("a"))?.id.value).toBe("a");
    expect(await users.remove({ type: "string", value: "á" })).toBe(false);
  });
});

describe("the embedded store", () => {
  test("takes another setting over, and refuses one by which two users clash", async () => {
    const place = await stores.newPlace("embedded");
    const exact = await stores.open(place);
    await exact.users.add(newUser());
    const ignoring = { ...place, USERNAME_MATCH: "ignore-case" };
    const other = await stores.open(ignoring);
    expect(await other.users.findByUsername("ALICE")).toEqual(newUser());
    // Whoever still has the former setting must not take this for an unknown user.
    await expect(exact.users.findByUsername("alice")).rejects.toMatchObject({
      code: "store_unavailable",
    });
    const again = await stores.open(place);
    expect(await again.users.findByUsername("ALICE")).toBeUndefined();
    await again.users.add(newUser({ username: "ALICE", id: { type: "int", value: "8" } }));
    await expect(stores.open(ignoring)).rejects.toThrow("Their _id: ");
    expect(await again.users.findByUsername("alice")).toEqual(newUser());
  });
});

describe.each([
  ["ignore-case", "accent"],
  ["ignore-case-and-accents", "base"],
] as const)("%s", (match, sensitivity) => {
  const key = usernameKeyOf(match);
  test("ß is ss with another accent", () => {
    expect(key("straße") === key("STRASSE")).toBe(sensitivity === "base");
    expect(key("Straße")).toBe(key("straẞe"));
  });

  const { compare } = new Intl.Collator("en", { sensitivity });

  test("never takes for one what ICU tells apart, and misses nothing of the living alphabets", () => {
    const byKey = new Map<string, string>();
    for (let code = 0x20; code < 0x2_0000; code++) {
      const character = String.fromCodePoint(code);
      if (/[\p{Cn}\p{Co}\p{Cs}]/u.test(character)) continue;
      const other = byKey.get(key(character));
      if (other !== undefined && compare(other, character) !== 0) {
        throw new Error(`${other} and ${character} are not one`);
      }
      byKey.set(key(character), other ?? character);
    }
    const letters = Array.from({ length: 0x700 }, (_, i) => String.fromCodePoint(0x20 + i))
      .filter((letter) => /[\p{L}\p{Nd}]/u.test(letter))
      .sort(compare);
    const missed = letters.filter((letter, i) => {
      const before = letters[i - 1];
      return before !== undefined && compare(before, letter) === 0 && key(before) !== key(letter);
    });
    // A dozen of phonetics and of the Koran, depending on the version of ICU.
    expect(missed.length).toBeLessThan(20);
  });
});
