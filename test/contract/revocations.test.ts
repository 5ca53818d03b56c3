/** What both stores promise of revocations, and the command line and the server upon them. */
import { describe, expect, test } from "@jest/globals";
import { decodeJwt, decodeProtectedHeader } from "jose";
import { RevocationList } from "../../src/revocations/list.js";
import { storeNames, useStores } from "../support/stores.js";
import { newKey } from "../support/keys.js";

const { newPlace, open } = useStores();
const hourMs = 3_600_000;

describe.each(storeNames)("%s", (name) => {
  test("the latest revocation of a subject holds, whoever adds it", async () => {
    const env = await newPlace(name);
    const [one, other] = [(await open(env)).revocations, (await open(env)).revocations];
    const now = Date.now();
    const subjects = ["1", "ann", "x".repeat(5000), "\u0000", "changes"];
    await Promise.all(
      subjects.flatMap((subject) =>
        [3, 1, 2].map((at) =>
          (at === 2 ? one : other).add({ subject, atMs: now + at }, now + hourMs),
        ),
      ),
    );
    const listed = await other.list(now, 100);
    expect(listed).toHaveLength(subjects.length);
    expect(new Map(listed.map(({ subject, atMs }) => [subject, atMs]))).toEqual(
      new Map(subjects.map((subject) => [subject, now + 3])),
    );
  });

  test("the version changes with each, also by another process", async () => {
    const env = await newPlace(name);
    const [one, other] = [(await open(env)).revocations, (await open(env)).revocations];
    const versions = new Set([await other.version()]);
    for (const subject of ["1", "2", "1"]) {
      await one.add({ subject, atMs: Date.now() }, Date.now() + hourMs);
      versions.add(await other.version());
    }
    expect(versions.size).toBe(4);
  });

  test("what has expired is not listed, and of too many the latest are", async () => {
    const { revocations } = await open(await newPlace(name));
    const now = Date.now();
    for (const at of [1, 2, 3, 4]) {
      await revocations.add({ subject: String(at), atMs: now + at }, now + at * hourMs);
    }
    const subjects = async (nowMs: number, most: number) =>
      (await revocations.list(nowMs, most)).map(({ subject }) => subject);
    expect(await subjects(now + 2 * hourMs, 100)).toEqual(["4", "3"]);
    expect(await subjects(now, 2)).toEqual(["4", "3"]);
  });

  test("with REVOCATIONS=on every change that ends tokens is recorded, without it none", async () => {
    const env = await newPlace(name);
    const [off, on] = [await open(env), await open({ ...env, REVOCATIONS: "on" })];
    const add = async (value: string, disabled = false) => {
      const id = { type: "int", value } as const;
      const user = { id, username: `user ${value}`, disabled, roles: [], passwordHash: "x" };
      await off.users.add({ ...user, tokensValidAfter: undefined });
      return { ...user, tokensValidAfter: undefined };
    };
    const [a, b, c, d] = [await add("1"), await add("2"), await add("3"), await add("4")];
    await off.users.update(a.id, { disabled: true, tokensValidAfter: new Date() });
    await off.users.remove((await add("5")).id);
    expect(await on.revocations.list(Date.now(), 10)).toEqual([]);

    await on.users.update(a.id, { disabled: true });
    await on.users.update(b.id, { tokensValidAfter: new Date() });
    await on.users.remove(c.id);
    const again = [{ ...d, passwordHash: "y" }];
    const options = { onConflict: "replace", replacedAt: new Date(), dryRun: true } as const;
    await on.users.import(again, options);
    const listed = async () =>
      (await on.revocations.list(Date.now(), 10)).map(({ subject }) => subject).sort();
    expect(await listed()).toEqual(["1", "2", "3"]);
    await on.users.import(again, { ...options, dryRun: false });
    expect(await listed()).toEqual(["1", "2", "3", "4"]);
  });

  test("who turns out to be disabled or gone is recorded once", async () => {
    const env = await newPlace(name);
    const [off, on] = [await open(env), await open({ ...env, REVOCATIONS: "on" })];
    const id = { type: "string", value: "ann" } as const;
    const user = { id, username: "ann", disabled: true, roles: [], passwordHash: "x" };
    await off.users.add({ ...user, tokensValidAfter: undefined });
    for (let count = 0; count < 3; count++) {
      await on.users.findByUsername("ann");
      await on.users.findBySubject("gone");
      await on.users.findByUsername("nobody");
    }
    const version = async () => {
      const { length } = await on.revocations.list(Date.now(), 10);
      return [length, await on.revocations.version()];
    };
    while ((await version())[1] !== "2") await new Promise(setImmediate);
    expect(await version()).toEqual([2, "2"]);
  });
});

test("the list names nobody, says when it is cut, and is signed anew only when it must be", async () => {
  const key = newKey("k");
  let signatures = 0;
  let nowMs = 1_700_000_000_000;
  let version = "1";
  const all = Array.from({ length: 100_001 }, (_, index) => ({
    ...{ subject: `subject ${index}`, atMs: nowMs - index },
  }));
  let stored = all.slice(0, 2);
  const list = new RevocationList({
    store: {
      add: () => Promise.resolve(),
      version: () => Promise.resolve(version),
      list: (_now, most) => Promise.resolve(stored.slice(0, most)),
    },
    secret: () => Promise.resolve(Buffer.alloc(32)),
    signingKey: () => (signatures++, Promise.resolve(key)),
    revokedKeyIds: () => ["old"],
    issuer: "https://auth.example",
    now: () => nowMs,
  });
  const [first, same] = await Promise.all([list.published(), list.published()]);
  expect(same).toBe(first);
  expect(first.body).not.toContain("subject");
  expect(decodeProtectedHeader(first.body)).toEqual({
    ...{ typ: "latchkey-revocations+jwt", alg: "RS256", kid: "k" },
  });
  expect(decodeJwt(first.body)).toMatchObject({ complete: true, keys: ["old"] });
  expect(JSON.stringify(decodeJwt(first.body))).not.toContain("subject");
  nowMs += 5000;
  expect((await list.published()).body).toBe(first.body);
  nowMs += 20_000;
  const resigned = await list.published();
  expect(resigned.etag).toBe(first.etag);
  expect(resigned.body).not.toBe(first.body);
  [stored, version] = [all, "2"];
  nowMs += 2000;
  const cut = decodeJwt((await list.published()).body);
  expect(cut["complete"]).toBe(false);
  expect(Object.keys(cut["users"] as object)).toHaveLength(100_000);
  expect(signatures).toBe(4);
});
