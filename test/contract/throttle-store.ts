/** What every store promises of the throttle's documents, and the throttle upon it. */
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { Gate, HashQueue, type AttemptEvent } from "../../src/auth/gate/gate.js";
import { noRehasher } from "../../src/auth/passwords/rehash.js";
import { createDecoy } from "../../src/auth/passwords/passwords.js";
import {
  Throttle,
  type ThrottleEntry,
  type ThrottleLimits,
} from "../../src/auth/throttle/throttle.js";
import type { ThrottleDocument, ThrottleStore } from "../../src/auth/throttle/throttle.js";
import { usernameKeyOf, type UsernameKey } from "../../src/auth/usernames.js";
import type { User, UserId } from "../../src/auth/users.js";
import type { Store } from "../../src/store/store.js";

export interface ThrottleStorePlace {
  /** Opens it, any number of times at once. */
  open(): Promise<Store>;
  dispose(): Promise<void>;
}

const hourMs = 3_600_000;
const documentOf = (document: string, more: Partial<ThrottleDocument> = {}): ThrottleDocument => ({
  document,
  expiresAtMs: Date.now() + hourMs,
  isDisposable: false,
  ...more,
});

function usePlace(newPlace: () => Promise<ThrottleStorePlace>) {
  const opened: Store[] = [];
  let place: ThrottleStorePlace | undefined;
  beforeEach(async () => {
    place = await newPlace();
  });
  const closeAll = () => Promise.all(opened.splice(0).map((store) => store.close()));
  afterEach(async () => {
    await closeAll();
    await place?.dispose();
  });
  return {
    async open(): Promise<Store> {
      if (place === undefined) throw new Error("no test is running");
      const store = await place.open();
      opened.push(store);
      return store;
    },
    closeAll,
  };
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

export function runThrottleStoreContract(
  name: string,
  newPlace: () => Promise<ThrottleStorePlace>,
): void {
  describe(`the throttle's documents: ${name}`, () => {
    const place = usePlace(newPlace);

    test("are read in the order asked for, absent ones too", async () => {
      const { throttle } = await place.open();
      const a = await throttle.write("a", undefined, documentOf("A"));
      const b = await throttle.write("b", undefined, documentOf("B"));
      const read = await throttle.read(["b", "none", "a", "b"]);
      expect(read.map((found) => found && [found.version, found.document])).toEqual([
        [b, "B"],
        undefined,
        [a, "A"],
        [b, "B"],
      ]);
    });

    test("are written only over the version that is stored", async () => {
      const { throttle } = await place.open();
      expect(await throttle.write("a", "never", documentOf("0"))).toBeUndefined();
      const first = await throttle.write("a", undefined, documentOf("1"));
      expect(await throttle.write("a", undefined, documentOf("2"))).toBeUndefined();
      const second = await throttle.write("a", first, documentOf("3"));
      expect(second).not.toBe(first);
      expect(await throttle.write("a", first, documentOf("4"))).toBeUndefined();
      expect((await throttle.read(["a"]))[0]?.document).toBe("3");
    });

    test("let one of racing writers win, whichever process it is in", async () => {
      const stores = await Promise.all([place.open(), place.open(), place.open()]);
      const race = (version: string | undefined) =>
        Promise.all(
          Array.from({ length: 30 }, async (_, i) =>
            stores[i % 3]?.throttle.write("a", version, documentOf(String(i))),
          ),
        );
      const won = (await race(undefined)).flatMap((version) => version ?? []);
      expect(won).toHaveLength(1);
      expect((await race(won[0])).filter((version) => version !== undefined)).toHaveLength(1);
    });

    test("are there after the store is opened again, and listed", async () => {
      const { throttle } = await place.open();
      for (let i = 0; i < 300; i++) await throttle.write(`k${i}`, undefined, documentOf(`${i}`));
      await place.closeAll();
      const listed = await collect((await place.open()).throttle.list());
      expect(listed.map(({ key }) => key).sort()).toEqual(
        Array.from({ length: 300 }, (_, i) => `k${i}`).sort(),
      );
      expect(listed.find(({ key }) => key === "k7")?.document).toBe("7");
    });

    test("may have any expiry, and none", async () => {
      const { throttle } = await place.open();
      const a = await throttle.write("a", undefined, documentOf("1", { expiresAtMs: undefined }));
      const b = await throttle.write("a", a, documentOf("2", { expiresAtMs: Date.now() + 60_000 }));
      expect(
        await throttle.write("a", b, documentOf("3", { expiresAtMs: undefined })),
      ).toBeDefined();
      expect((await throttle.read(["a"]))[0]?.document).toBe("3");
    });
  });
}

const defaults: ThrottleLimits = {
  failures: 10,
  userFailures: 100,
  networkFailures: 100,
  windowSeconds: 900,
};
const accentless = usernameKeyOf("ignore-case-and-accents");
const dayMs = 86_400_000;
const limited = expect.objectContaining({ code: "rate_limited" });
const pause = () => new Promise((resolve) => setTimeout(resolve, 5));

/** Replicas of one deployment with a clock of their own. */
export function runThrottleContract(
  name: string,
  newPlace: () => Promise<ThrottleStorePlace>,
): void {
  describe(`the throttle: ${name}`, () => {
    const place = usePlace(newPlace);
    let nowMs = 0;
    const throttles: Throttle[] = [];
    beforeEach(() => {
      nowMs = Date.now();
    });
    afterEach(async () => {
      await Promise.all(throttles.splice(0).map((throttle) => throttle.close()));
    });

    async function newReplica(
      limits: Partial<ThrottleLimits> = {},
      shared?: Store,
      writes?: string[],
      usernameKey: UsernameKey = (username) => username.toLowerCase(),
    ): Promise<Throttle> {
      const store = shared ?? (await place.open());
      const throttle = new Throttle({
        store: writes ? spyOn(store.throttle, writes) : store.throttle,
        secret: () => store.secret(),
        limits: { ...defaults, ...limits },
        isExempt: (network) => network.startsWith("10."),
        usernameKey,
        clock: { now: () => nowMs },
      });
      throttles.push(throttle);
      await throttle.open();
      return throttle;
    }

    const { signal } = new AbortController();
    /** Every name is a user's; spellings of it are the same user's. */
    const accountOf = (user: string): Promise<UserId> =>
      Promise.resolve({ type: "string", value: user.toLowerCase() });
    const admit = (throttle: Throttle, user = "alice", network = "192.0.2.1") =>
      throttle.admit(user, network, accountOf(user), signal);
    const attempt = async (
      throttle: Throttle,
      outcome: "right" | "wrong",
      user?: string,
      network?: string,
    ) => {
      const permit = await admit(throttle, user, network);
      await pause();
      await permit.settle(outcome);
    };
    /** How many of the guesses were checked; all others must be told to come back in time. */
    async function checkedOf(guesses: Promise<void>[]): Promise<number> {
      const results = await Promise.allSettled(guesses);
      for (const result of results) {
        if (result.status === "fulfilled") continue;
        expect(result.reason).toEqual(limited);
        const { retryAfterSeconds } = result.reason as { retryAfterSeconds: number };
        expect(retryAfterSeconds).toBeGreaterThan(0);
        expect(retryAfterSeconds).toBeLessThanOrEqual(60);
      }
      return results.filter(({ status }) => status === "fulfilled").length;
    }
    const times = <T>(count: number, make: (i: number) => T) =>
      Array.from({ length: count }, (_, i) => make(i));

    test.each(["alice", "nobody"])(
      "1,000 parallel guesses at %s over three replicas: no more than the limit is checked",
      async (user) => {
        const replicas = [await newReplica(), await newReplica(), await newReplica()] as const;
        const guess = (i: number) => attempt(replicas[(i % 3) as 0 | 1 | 2], "wrong", user);
        expect(await checkedOf(times(1000, guess))).toBe(10);
        await place.closeAll();
        const restarted = await newReplica();
        await expect(attempt(restarted, "wrong", user)).rejects.toEqual(limited);
      },
    );

    test.each([1, 2, 10])(
      "from a known network too: no more than twice a limit of %i, however many replicas",
      async (failures) => {
        const store = await place.open();
        const replicas = await Promise.all(times(30, () => newReplica({ failures }, store)));
        await attempt(replicas[0] as Throttle, "right");
        let checked = 0;
        // What is answered as throttled may have been checked all the same.
        const guess = async (i: number) => {
          const permit = await admit(replicas[i % 30] as Throttle);
          checked++;
          await pause();
          const refusal = await permit.settle("wrong");
          if (refusal) throw refusal;
        };
        expect(await checkedOf(times(300, guess))).toBe(failures);
        expect(checked).toBeLessThanOrEqual(2 * failures);
      },
    );

    test("failures on a known network do not show in what is left elsewhere", async () => {
      const leftOf = async (user: string) => {
        const throttle = await newReplica({ userFailures: 7 });
        await attempt(throttle, "right", "alice", "192.0.2.1");
        for (let i = 0; i < 3; i++) await attempt(throttle, "wrong", user, "192.0.2.1");
        return checkedOf(times(8, (i) => attempt(throttle, "wrong", user, `198.51.100.${i}`)));
      };
      expect([await leftOf("alice"), await leftOf("nobody")]).toEqual([4, 4]);
    });

    test("300 accounts whose names fold alike take no trust from one another", async () => {
      const throttle = await newReplica({ userFailures: 3 }, undefined, undefined, (name) => name);
      const spelling = (i: number) =>
        Array.from("victorious", (c, at) => ((i >> at) & 1 ? c.toUpperCase() : c)).join("");
      const as = async (name: string, network: string, outcome: "right" | "wrong") => {
        const account = Promise.resolve({ type: "string", value: name } as const);
        await (await throttle.admit(name, network, account, signal)).settle(outcome);
      };
      for (let i = 0; i < 300; i++) await as(spelling(i), "192.0.2.1", "right");
      const guesses = times(5, (i) => as("VICTORIOUS", `198.51.100.${i}`, "wrong"));
      expect(await checkedOf(guesses)).toBe(3);
      for (const i of [0, 150, 299]) await as(spelling(i), "192.0.2.1", "right");
    });

    test("a decision on a record that has changed meanwhile is made anew", async () => {
      const store = await place.open();
      // The second replica's guess is in the store before the first's write, and after its read.
      const second = await newReplica({ failures: 1 }, store);
      let isOvertaken = true;
      const overtaken: ThrottleStore = {
        read: (keys) => store.throttle.read(keys),
        list: () => store.throttle.list(),
        now: () => store.throttle.now(),
        async write(...change) {
          if (!isOvertaken) {
            isOvertaken = true;
            await attempt(second, "wrong");
          }
          return store.throttle.write(...change);
        },
      };
      const first = await newReplica(
        { failures: 1 },
        { ...store, throttle: overtaken },
        [],
        (n) => n,
      );
      isOvertaken = false;
      await expect(attempt(first, "right")).rejects.toEqual(limited);
      expect(isOvertaken).toBe(true);
    });

    test.each([1, 2, 10])(
      "with a limit of %i, 1, 10 and 100 right logins at once from a known network write nothing",
      async (failures) => {
        const calls: string[] = [];
        const throttle = await newReplica({ failures }, undefined, calls);
        await attempt(throttle, "right");
        calls.length = 0;
        for (const atOnce of [1, 10, 100])
          await Promise.all(times(atOnce, () => attempt(throttle, "right")));
        expect(calls).toEqual(Array(111).fill("read"));
        await attempt(throttle, "wrong");
        expect(calls.filter((call) => call.startsWith("write"))).toHaveLength(4);
        const counts = (await collect(throttle.list())).map((entry) => entry.failures);
        expect(counts).toEqual([1, 1, 1]);
        if (failures === 1) return;
        // A slip of the user's changes nothing.
        calls.length = 0;
        await Promise.all(times(10, () => attempt(throttle, "right")));
        expect(calls).toEqual(Array(10).fill("read"));
      },
    );

    test("counts spellings as one, and over all networks of strangers", async () => {
      const throttle = await newReplica({ failures: 3, userFailures: 7 });
      const spellings = ["alice", "ALICE", "Ａlice", "alicE"];
      const networks = times(8, (i) => `198.51.100.${i}`);
      const guesses = spellings.flatMap((user) =>
        networks.map((network) => attempt(throttle, "wrong", user, network)),
      );
      expect(await checkedOf(guesses)).toBe(7);
      await expect(attempt(throttle, "wrong", "alice", "203.0.113.9")).rejects.toMatchObject({
        scope: "username",
      });
    });

    test("counts as one what the store takes for one user", async () => {
      const throttle = await newReplica({ failures: 3 }, undefined, undefined, accentless);
      const spellings = ["jose", "José", "JOSÉ", "joso", "jo\u200dse", "ｊosé"];
      expect(await checkedOf(spellings.map((user) => attempt(throttle, "wrong", user)))).toBe(
        3 + 1,
      );
    });

    test("counts a network over all usernames, unless it is exempt", async () => {
      const throttle = await newReplica({ networkFailures: 20 });
      const from = (network: string) =>
        times(60, (i) => attempt(throttle, "wrong", `user${i}`, network));
      expect(await checkedOf(from("192.0.2.1"))).toBe(20);
      expect(await checkedOf(from("10.0.0.1"))).toBe(60);
      await expect(attempt(throttle, "wrong", "new", "192.0.2.1")).rejects.toMatchObject({
        scope: "network",
      });
    });

    test("a limit lets one a minute through until the window has passed without a failure", async () => {
      const throttle = await newReplica({ failures: 3 });
      for (let i = 0; i < 3; i++) await attempt(throttle, "wrong");
      for (let minute = 0; minute < 5; minute++) {
        nowMs += 59_000;
        expect(await checkedOf(times(5, () => attempt(throttle, "wrong")))).toBe(0);
        nowMs += 1000;
        expect(await checkedOf(times(5, () => attempt(throttle, "wrong")))).toBe(1);
      }
      nowMs += 899_000;
      expect(await checkedOf(times(5, () => attempt(throttle, "wrong")))).toBe(1);
      nowMs += 900_000;
      expect(await checkedOf(times(5, () => attempt(throttle, "wrong")))).toBe(3);
    });

    test("the user gets in at once from a known network, whatever strangers do there and elsewhere", async () => {
      const throttle = await newReplica({ userFailures: 5, networkFailures: 5 });
      await attempt(throttle, "right", "alice", "192.0.2.1");
      const elsewhere = times(20, (i) => attempt(throttle, "wrong", "alice", `198.51.100.${i}`));
      const here = times(20, (i) => attempt(throttle, "wrong", `user${i}`, "192.0.2.1"));
      expect(await checkedOf([...elsewhere, ...here])).toBe(10);
      await attempt(throttle, "right", "Alice", "192.0.2.1");
      await attempt(throttle, "wrong", "alice", "192.0.2.1");
      await attempt(throttle, "right", "alice", "192.0.2.1");
      nowMs += 29 * dayMs;
      const again = times(20, (i) => attempt(throttle, "wrong", "alice", `198.51.100.${i}`));
      expect(await checkedOf(again)).toBe(5);
      await attempt(throttle, "right", "alice", "192.0.2.1");
    });

    test("a network is forgotten after the days without a login", async () => {
      const throttle = await newReplica({ userFailures: 3 });
      await attempt(throttle, "right", "alice", "192.0.2.1");
      nowMs += 60 * dayMs;
      const strangers = times(5, (i) => attempt(throttle, "wrong", "alice", `198.51.100.${i}`));
      await checkedOf(strangers);
      await expect(attempt(throttle, "right", "alice", "192.0.2.1")).rejects.toEqual(limited);
    });

    test("from elsewhere the user gets in within a minute of the last failure, before those who failed", async () => {
      const throttle = await newReplica({ userFailures: 5 });
      const stranger = (i: number) => attempt(throttle, "wrong", "alice", `198.51.100.${i % 5}`);
      for (let i = 0; i < 5; i++) await stranger(i);
      expect(await checkedOf(times(20, stranger))).toBe(0);
      await expect(attempt(throttle, "right", "alice", "203.0.113.9")).rejects.toEqual(limited);
      nowMs += 55_000;
      expect(await checkedOf(times(20, stranger))).toBe(0);
      await attempt(throttle, "right", "alice", "203.0.113.9");
      await Promise.all(times(20, () => attempt(throttle, "right", "alice", "203.0.113.9")));
    });

    test.each(["a known", "a new"])(
      "100 simultaneous right logins from %s network all succeed, strangers or not",
      async (kind) => {
        const replicas = [await newReplica(), await newReplica()] as const;
        if (kind === "a known") await attempt(replicas[0], "right");
        const logins = times(100, (i) => attempt(replicas[(i % 2) as 0 | 1], "right"));
        const strangers = times(200, (i) =>
          attempt(replicas[(i % 2) as 0 | 1], "wrong", "alice", `198.51.100.${i % 7}`),
        );
        const checked = checkedOf(strangers);
        await expect(Promise.all(logins)).resolves.toHaveLength(100);
        expect(await checked).toBe(70);
      },
    );

    test("100 users behind one new network all get in at once, while one of them fails", async () => {
      const throttle = await newReplica({ networkFailures: 20 });
      await checkedOf(times(10, () => attempt(throttle, "wrong", "mallory", "192.0.2.1")));
      const logins = times(100, (i) => attempt(throttle, "right", `user${i}`, "192.0.2.1"));
      await expect(Promise.all(logins)).resolves.toHaveLength(100);
    });

    test("1,000 logins from a known network, 29 days long: one round trip each, no write", async () => {
      const calls: string[] = [];
      const throttle = await newReplica({}, undefined, calls);
      await attempt(throttle, "right");
      const writes = () => calls.filter((call) => call.startsWith("write")).length;
      expect(writes()).toBeGreaterThan(0);
      calls.length = 0;
      const login = async () => (await admit(throttle)).settle("right");
      for (let day = 0; day < 29; day++) {
        nowMs += dayMs;
        await throttle.open();
        for (let i = 0; i < 35; i++) await login();
      }
      expect([calls.length, writes()]).toEqual([29 * 35, 0]);
      nowMs += dayMs;
      await throttle.open();
      for (let i = 0; i < 35; i++) await login();
      expect(writes()).toBe(1);
    });

    test("30 days count from the last login, noted or not", async () => {
      const throttle = await newReplica({ userFailures: 3 });
      await attempt(throttle, "right");
      nowMs += 30 * dayMs - 1;
      await throttle.open();
      await attempt(throttle, "right");
      nowMs += 30 * dayMs - 1;
      const strangers = times(5, (i) => attempt(throttle, "wrong", "alice", `198.51.100.${i}`));
      expect(await checkedOf(strangers)).toBe(3);
      await attempt(throttle, "right");
    });

    test("a network in daily use is not crowded out by those that were used once", async () => {
      const throttle = await newReplica({ userFailures: 3 });
      const loginOnceFrom = async (networks: readonly string[]) => {
        for (const network of networks) {
          nowMs += 1;
          await attempt(throttle, "right", "alice", network);
        }
      };
      await loginOnceFrom(["192.0.2.1", ...times(60, (i) => `198.51.100.${i}`)]);
      nowMs += dayMs;
      await throttle.open();
      await loginOnceFrom(["192.0.2.1", ...times(10, (i) => `198.51.101.${i}`)]);
      const strangers = times(5, (i) => attempt(throttle, "wrong", "alice", `203.0.113.${i}`));
      expect(await checkedOf(strangers)).toBe(3);
      const forgotten = attempt(throttle, "right", "alice", "198.51.100.0");
      await expect(forgotten).rejects.toEqual(limited);
      await attempt(throttle, "right");
    });

    test("a refusal writes nothing", async () => {
      const writes: string[] = [];
      const throttle = await newReplica({ networkFailures: 3 }, undefined, writes);
      await checkedOf(times(5, (i) => attempt(throttle, "wrong", `user${i}`)));
      writes.length = 0;
      expect(await checkedOf(times(50, (i) => attempt(throttle, "wrong", `new${i}`)))).toBe(0);
      expect(writes.filter((call) => call.startsWith("write"))).toEqual([]);
    });

    test("what was not checked is not counted, nor what a dead process was checking", async () => {
      const store = await place.open();
      const throttle = await newReplica({ failures: 3 }, store);
      for (let i = 0; i < 20; i++) await (await admit(throttle)).settle("unchecked");
      const dead = await Promise.all(times(3, () => newReplica({ failures: 3 }, store)));
      await Promise.all(dead.map((replica) => admit(replica)));
      nowMs += 31_000;
      expect(await checkedOf(times(5, () => attempt(throttle, "wrong")))).toBe(3);
    });

    test("a process that died while it checked holds up a right password for half a minute at most", async () => {
      const store = await place.open();
      const throttle = await newReplica({ failures: 3 }, store);
      await attempt(throttle, "right", "alice", "203.0.113.9");
      const dead = await Promise.all(times(3, () => newReplica({ failures: 3 }, store)));
      await Promise.all(dead.map((replica) => admit(replica)));
      let isIn = false;
      const waiting = attempt(throttle, "right").then(() => (isIn = true));
      await attempt(throttle, "right", "alice", "203.0.113.9");
      nowMs += 29_000;
      await attempt(throttle, "right", "alice", "203.0.113.9");
      expect(isIn).toBe(false);
      nowMs += 1_000;
      await waiting;
    });

    test("a clock that was hours ahead keeps nobody out", async () => {
      const throttle = await newReplica({ failures: 3, userFailures: 3, networkFailures: 3 });
      nowMs += 6 * hourMs;
      for (let i = 0; i < 3; i++) await attempt(throttle, "wrong");
      for (let i = 0; i < 2; i++) {
        nowMs += 60_000;
        await attempt(throttle, "wrong");
      }
      nowMs -= 6 * hourMs;
      await attempt(throttle, "right");
    });

    test("trust belongs to the account, not to its name's spelling, and no other takes it away", async () => {
      const throttle = await newReplica({ userFailures: 3 }, undefined, undefined, (name) => name);
      const as = async (id: string, network: string, outcome: "right" | "wrong") => {
        const account = Promise.resolve({ type: "string", value: id } as const);
        const permit = await throttle.admit(id, network, account, signal);
        await permit.settle(outcome);
        return permit;
      };
      await as("alice", "192.0.2.1", "right");
      for (let i = 0; i < 80; i++) await as("ALICE", `198.51.100.${i}`, "right");
      for (let i = 0; i < 3; i++) await as("alice", `203.0.113.${i}`, "wrong");
      await expect(as("alice", "198.51.100.79", "wrong")).rejects.toEqual(limited);
      await as("alice", "192.0.2.1", "right");
    });

    test("what trust alone lets pass is refused in failure as any name is, and leaves no trace", async () => {
      const throttle = await newReplica({ networkFailures: 3 });
      await attempt(throttle, "right");
      for (let i = 0; i < 3; i++) await attempt(throttle, "wrong", `user${i}`);
      const checked: string[] = [];
      const refusalOf = (user: string) =>
        admit(throttle, user).then(
          (permit) => {
            checked.push(user);
            return permit.settle("wrong");
          },
          (error: unknown) => error,
        );
      for (let i = 0; i < 12; i++) {
        nowMs += 1000;
        const [known, unknown] = [await refusalOf("alice"), await refusalOf("nobody")];
        expect(known).toMatchObject({ scope: "network" });
        expect(known).toEqual(unknown);
      }
      // Half the limit; the one that went first is among them.
      expect(checked).toEqual(Array(5).fill("alice"));
    });

    test("who waits for places and leaves is told so and forgotten", async () => {
      const throttle = await newReplica({ failures: 1 });
      const permit = await admit(throttle);
      const leaving = new AbortController();
      const waiting = throttle.admit("alice", "192.0.2.1", accountOf("alice"), leaving.signal);
      await pause();
      const reason = new Error("gone");
      leaving.abort(reason);
      await expect(waiting).rejects.toBe(reason);
      await permit.settle("right");
      await attempt(throttle, "right");
    });

    test("what is stored names neither strangers nor known networks, and tells nothing to other deployments", async () => {
      const keysOf = async () => {
        const other = await newPlace();
        const store = await other.open();
        const throttle = await newReplica({}, store);
        await attempt(throttle, "right", "alice", "192.0.2.1");
        await attempt(throttle, "wrong", "mallory", "192.0.2.1");
        await throttle.close();
        const stored = await collect(store.throttle.list());
        const records = stored.filter(({ key }) => key.includes(":"));
        const names = records.flatMap(({ document }) => {
          const { counters, known } = JSON.parse(document) as Record<"counters" | "known", object>;
          return Object.keys({ ...counters, ...known });
        });
        const ofNames = records.filter(({ key }) => !key.startsWith("network:"));
        expect(JSON.stringify(ofNames)).not.toMatch(/alice|mallory|192\.0\.2/i);
        await store.close();
        await other.dispose();
        return [...new Set([...records.map(({ key }) => key), ...names])];
      };
      const [ours, theirs] = [await keysOf(), await keysOf()];
      expect(ours.length).toBeGreaterThanOrEqual(4);
      expect(ours.filter((key) => theirs.includes(key))).toEqual(["all"]);
    });

    test("lists what is counted and forgets it on demand", async () => {
      const throttle = await newReplica({ failures: 2 });
      for (let i = 0; i < 2; i++) {
        const permit = await admit(throttle, "ALICE");
        await permit.settle("wrong", "alice");
      }
      const entry = (more: Partial<ThrottleEntry>) => ({
        username: undefined,
        network: undefined,
        failures: 2,
        retryAfterSeconds: 0,
        ...more,
      });
      const listed = await collect(throttle.list());
      expect(listed).toHaveLength(3);
      expect(listed).toEqual(
        expect.arrayContaining([
          entry({ username: "alice", scope: "username_and_network", retryAfterSeconds: 60 }),
          entry({ username: "alice", scope: "username" }),
          entry({ network: "192.0.2.1", scope: "network" }),
        ]),
      );
      await expect(admit(throttle)).rejects.toEqual(limited);
      expect(await throttle.unlock("Alice")).toBe(true);
      expect(await throttle.unlock("alice")).toBe(false);
      await attempt(throttle, "right");
    });

    test("three gates on one store check no more guesses than the throttle lets through", async () => {
      const events: AttemptEvent[] = [];
      const store = await place.open();
      const user: User = {
        id: { type: "int", value: "1" },
        username: "alice",
        passwordHash: "$2b$04$DR3aoWP.AwUXsNf5c23tceithpasOR0Qjhb0gsfgHTYkVhBKUJlTe",
        disabled: false,
        roles: [],
        tokensValidAfter: undefined,
      };
      await store.users.add(user);
      const gates = await Promise.all(
        times(
          3,
          async () =>
            new Gate({
              rehasher: noRehasher,
              users: store.users,
              decoy: createDecoy((name) => name),
              throttle: await newReplica({}, store),
              queue: new HashQueue({
                concurrency: () => 1,
                waitingMax: 500,
                now: () => performance.now(),
              }),
              now: () => performance.now(),
              // A thousand at once take a while on a slow engine: what counts here is how many are checked.
              storeMs: 60_000,
              onAttempt: (event) => events.push(event),
            }),
        ),
      );
      const guess = async (i: number, password = `guess${i}`, clientNetwork = "192.0.2.1") =>
        gates[i % 3]?.check(
          { username: "alice", password },
          { surface: "rest_login", clientNetwork, requestId: String(i), signal: undefined },
        );
      await guess(0, "ü".repeat(36), "203.0.113.1");
      await Promise.allSettled(times(1000, guess));
      const count = (reason: string) => events.filter((event) => event.reason === reason).length;
      // On a busy machine a failure may be stored late; twice the limit is the promise.
      expect(count("wrong_password")).toBeGreaterThanOrEqual(10);
      expect(count("wrong_password")).toBeLessThanOrEqual(20);
      const turnedAway = count("throttled_by_username_and_network") + count("store_unavailable");
      expect(count("wrong_password") + turnedAway).toBe(1000);
      await expect(guess(1, "ü".repeat(36), "203.0.113.1")).resolves.toEqual(user);
    });
  });
}

function spyOn(store: ThrottleStore, calls: string[]): ThrottleStore {
  const isOurs = (key: string) => key.includes(":");
  return {
    read(keys) {
      if (keys.some(isOurs)) calls.push("read");
      return store.read(keys);
    },
    write(key, version, document) {
      if (isOurs(key)) calls.push(`write ${key}`);
      return store.write(key, version, document);
    },
    list: () => store.list(),
    now: () => store.now(),
  };
}
