import { describe, expect, test } from "@jest/globals";
import { AuthError } from "../../src/auth/errors.js";
import {
  Gate,
  HashQueue,
  safeUsername,
  type Attempt,
  type AttemptEvent,
} from "../../src/auth/gate/gate.js";
import { noRehasher } from "../../src/auth/passwords/rehash.js";
import { createDecoy } from "../../src/auth/passwords/passwords.js";
import {
  Throttled,
  noThrottle,
  type Permit,
  type ThrottleScope,
} from "../../src/auth/throttle/throttle.js";
import type { User } from "../../src/auth/users.js";

/** bcrypt of `ü` 36 times. */
const hash = "$2b$04$DR3aoWP.AwUXsNf5c23tceithpasOR0Qjhb0gsfgHTYkVhBKUJlTe";
const password = "ü".repeat(36);
const user = (more: Partial<User> = {}): User => ({
  id: { type: "int", value: "1" },
  username: "alice",
  passwordHash: hash,
  disabled: false,
  roles: [],
  tokensValidAfter: undefined,
  ...more,
});
const users: Record<string, User> = {
  alice: user(),
  disabled: user({ username: "disabled", disabled: true }),
  empty: user({ username: "empty", passwordHash: undefined }),
  broken: user({ username: "broken", passwordHash: "$2b$12$" }),
};
const attempt: Attempt = {
  surface: "rest_login",
  clientNetwork: "192.0.2.1",
  signal: undefined,
  requestId: "r1",
};
const unavailable = new AuthError("store_unavailable", "gone");

function setUp(
  options: {
    admit?: (signal: AbortSignal) => Promise<Permit>;
    find?: (username: string) => Promise<User | undefined>;
    waitingMax?: number;
    onVerify?: () => void;
  } = {},
) {
  const events: AttemptEvent[] = [];
  const settled: unknown[] = [];
  const queue = new HashQueue({
    concurrency: () => 1,
    waitingMax: options.waitingMax ?? 10,
    now: () => performance.now(),
  });
  const permit: Permit = {
    isException: false,
    settle(...args) {
      settled.push(args);
      return Promise.resolve(undefined);
    },
  };
  const gate = new Gate({
    rehasher: noRehasher,
    users: { findByUsername: options.find ?? ((name) => Promise.resolve(users[name])) },
    decoy: createDecoy((name) => name),
    throttle: {
      admit: async (_, __, account, signal) => {
        await account;
        return options.admit?.(signal) ?? permit;
      },
    },
    queue,
    now: () => performance.now(),
    onAttempt: (event) => events.push(event),
    observeVerify:
      (verify) =>
      (...args) => {
        options.onVerify?.();
        return verify(...args);
      },
  });
  return { gate, events, settled, queue, permit };
}

describe("a gate", () => {
  test.each([
    ["alice", password, "accepted", ["right", "alice"]],
    ["alice", "s3cret!", "wrong_password", ["wrong", "alice"]],
    ["nobody", "wrong", "unknown_user", ["wrong", undefined]],
    ["disabled", password, "disabled", ["wrong", "disabled"]],
    ["disabled", "s3cret!", "wrong_password", ["wrong", "disabled"]],
    ["empty", "wrong", "no_usable_hash", ["wrong", "empty"]],
    ["broken", "wrong", "no_usable_hash", ["wrong", "broken"]],
  ])("%s with %s: %s", async (username, given, reason, outcome) => {
    const { gate, events, settled, queue } = setUp();
    const check = gate.check({ username, password: given }, attempt);
    if (reason === "accepted") await expect(check).resolves.toBe(users[username]);
    else {
      await expect(check).rejects.toMatchObject({
        code: "invalid_credentials",
        message: "credentials refused",
      });
    }
    expect(settled).toEqual([outcome]);
    const { clientNetwork, requestId, surface } = attempt;
    const waitedMs: unknown = expect.any(Number);
    expect(events).toEqual([{ surface, reason, username, clientNetwork, requestId, waitedMs }]);
    expect(JSON.stringify(events)).not.toContain(given);
    expect(queue.depth()).toEqual({ running: 0, waiting: 0 });
  });

  test.each([
    ["a throttle that refuses", new Throttled("network", 1), "throttled_by_network"],
    ["a throttle without its store", unavailable, "store_unavailable"],
  ])("computes no hash for %s", async (_, error, reason) => {
    const { gate, events } = setUp({ admit: () => Promise.reject(error) });
    await expect(gate.check({ username: "alice", password }, attempt)).rejects.toBe(error);
    expect(events).toMatchObject([{ reason, waitedMs: undefined }]);
  });

  test("asks for no permit where the user cannot be read", async () => {
    const { gate, events, settled } = setUp({ find: () => Promise.reject(unavailable) });
    await expect(gate.check({ username: "alice", password }, attempt)).rejects.toBe(unavailable);
    expect(settled).toEqual([]);
    expect(events).toMatchObject([{ reason: "store_unavailable" }]);
  });

  test("tells no outcome that could not be counted", async () => {
    const settle = () => Promise.reject(unavailable);
    const { gate, events } = setUp({
      admit: () => Promise.resolve({ isException: false, settle }),
    });
    for (const given of [password, "wrong"]) {
      const check = gate.check({ username: "alice", password: given }, attempt);
      await expect(check).rejects.toBe(unavailable);
    }
    expect(events.map(({ reason }) => reason)).toEqual(["store_unavailable", "store_unavailable"]);
  });

  test("tells once of a wrong password that is over the limit by the time it is counted", async () => {
    const refusal = new Throttled("username_and_network", 1);
    const settle = () => Promise.resolve(refusal);
    const { gate, events } = setUp({
      admit: () => Promise.resolve({ isException: false, settle }),
    });
    const check = gate.check({ username: "alice", password: "wrong" }, attempt);
    await expect(check).rejects.toBe(refusal);
    expect(events.map(({ reason }) => reason)).toEqual(["wrong_password"]);
  });

  test("never computes for a caller who has left, and does not count the attempt", async () => {
    const { gate, events, settled, queue } = setUp();
    const other = queue.enter("other", undefined);
    let end = () => {};
    const running = other.run(() => new Promise<void>((resolve) => (end = resolve)));
    const leaving = new AbortController();
    const check = gate.check(
      { username: "alice", password },
      { ...attempt, signal: leaving.signal },
    );
    await new Promise((resolve) => setTimeout(resolve, 10));
    const reason = new Error("gone");
    leaving.abort(reason);
    await expect(check).rejects.toBe(reason);
    end();
    await running;
    expect(settled).toEqual([["unchecked"]]);
    expect(events).toMatchObject([{ reason: "aborted", waitedMs: undefined }]);
  });

  test("counts a failure although its caller left while it was computed", async () => {
    const leaving = new AbortController();
    const { gate, settled } = setUp({ onVerify: () => leaving.abort(new Error("gone")) });
    const check = gate.check(
      { username: "nobody", password: "wrong" },
      { ...attempt, signal: leaving.signal },
    );
    await expect(check).rejects.toThrow();
    expect(settled).toEqual([["wrong", undefined]]);
  });

  test("sheds what does not fit before it asks the store", async () => {
    const { gate, events, settled } = setUp({ waitingMax: 1 });
    const checks = Array.from({ length: 5 }, () =>
      gate.check({ username: "alice", password }, attempt),
    );
    const results = await Promise.allSettled(checks);
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(events.filter(({ reason }) => reason === "overloaded")).toHaveLength(4);
    expect(settled).toHaveLength(1);
  });

  test("tells of a username only what may be logged", async () => {
    const { gate, events } = setUp();
    const username = `a\nb${"c".repeat(300)}`;
    await gate.check({ username, password: "wrong" }, attempt).catch(() => undefined);
    expect(events).toMatchObject([{ username: `a\ufffdb${"c".repeat(61)}…` }]);
  });

  describe("holds a refusal that trust in a network may lift until the next whole second after the turn", () => {
    /** What the gate waits for, by a clock that only hashing moves. */
    async function heldFor(scope: ThrottleScope, isChecked: boolean, hashMs = 0) {
      let nowMs = 5000;
      const held: number[] = [];
      const refusal = new Throttled(scope, 30_000);
      const gate = new Gate({
        rehasher: noRehasher,
        users: { findByUsername: (name) => Promise.resolve(users[name]) },
        decoy: createDecoy((name) => name),
        throttle: {
          admit: () =>
            isChecked
              ? Promise.resolve({ isException: true, settle: () => Promise.resolve(refusal) })
              : Promise.reject(refusal),
        },
        queue: new HashQueue({ concurrency: () => 1, waitingMax: 10, now: () => nowMs }),
        now: () => nowMs,
        observeVerify:
          (verify) =>
          async (...check) => {
            const matches = await verify(...check);
            nowMs += hashMs;
            return matches;
          },
        sleep: (ms) => {
          held.push(ms);
          return Promise.resolve();
        },
        onAttempt: () => undefined,
      });
      await expect(gate.check({ username: "alice", password: "no" }, attempt)).rejects.toBe(
        refusal,
      );
      return held;
    }

    test.each(["network", "username"] as const)(
      "by %s, whether it was hashed or not",
      async (by) => {
        expect(await heldFor(by, false)).toEqual([1000]);
        expect(await heldFor(by, true)).toEqual([1000]);
        expect(await heldFor(by, true, 250)).toEqual([750]);
        expect(await heldFor(by, true, 1250)).toEqual([750]);
      },
    );

    test("and no other", async () => {
      expect(await heldFor("username_and_network", false)).toEqual([]);
      expect(await heldFor("username_and_network", true)).toEqual([]);
    });
  });

  test("works without a throttle", async () => {
    const permit = await noThrottle.admit(
      "alice",
      "192.0.2.1",
      Promise.resolve(undefined),
      new AbortController().signal,
    );
    await expect(permit.settle("wrong")).resolves.toBeUndefined();
  });
});

test.each([
  ["alice", "alice"],
  ["a\nb\u202ec\u0000", "a\ufffdb\ufffdc\ufffd"],
  ["\ud800x", "\ufffdx"],
  ["😀".repeat(65), `${"😀".repeat(64)}…`],
  ["😀".repeat(64), "😀".repeat(64)],
])("%j is logged as %j", (username, safe) => expect(safeUsername(username)).toBe(safe));
