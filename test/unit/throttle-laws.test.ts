/**
 * The throttle over random histories: replicas whose clocks differ, accounts whose names fold alike, known and
 * unknown networks, a store that lags, fails, loses answers or takes no writes, and whose clock jumps. The seed is
 * printed when a law is broken; `THROTTLE_SEED` sets it, `THROTTLE_HISTORIES` their number.
 */
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { describe, expect, test } from "@jest/globals";
import { AuthError } from "../../src/auth/errors.js";
import { Throttle, Throttled } from "../../src/auth/throttle/throttle.js";
import type { UserId } from "../../src/auth/users.js";
import {
  faults,
  guessAsBefore,
  MemoryThrottle,
  trustAsBefore,
  type Fault,
} from "../support/memory-throttle.js";

const limits = { failures: 4, userFailures: 8, networkFailures: 8, windowSeconds: 900 };
const replicas = 3;
/** The last one is guessed at from his own network. */
const accounts = ["alice", "ALICE", "Alice", "bob"] as const;
const bob = 3;
const homeOf = (account: number) => `192.0.2.${account}`;
const minuteMs = 60_000;
const retryMs = 5;
/** How far the clocks of two replicas are apart at most. */
const skewMsMax = 7 * 300;
const { THROTTLE_SEED, THROTTLE_HISTORIES = "30" } = process.env;
const settings = {
  endOnFailure: process.env["THROTTLE_SHRINK"] === undefined,
  numRuns: Number(THROTTLE_HISTORIES),
  ...(THROTTLE_SEED !== undefined && { seed: Number(THROTTLE_SEED) }),
};

const idOf = (account: number): UserId => ({ type: "int", value: String(account) });

function newThrottle(store: MemoryThrottle, clock: { now(): number }): Throttle {
  return new Throttle({
    store,
    clock,
    secret: () => Promise.resolve(new Uint8Array(32)),
    limits,
    isExempt: () => false,
    usernameKey: (name) => name,
    checksMax: 2,
    retryMs,
  });
}

const kinds = [
  "guess",
  "burst",
  "stranger",
  "insider",
  "crowd",
  "advance",
  "drift",
  "jump",
  "fault",
  "fault",
] as const;

interface Step {
  readonly kind: (typeof kinds)[number];
  readonly replica: number;
  readonly account: number;
  readonly network: number;
  readonly fault: Fault;
}

const steps = fc.array(
  fc.record<Step>({
    kind: fc.constantFrom(...kinds),
    replica: fc.nat(replicas - 1),
    account: fc.nat(bob - 1),
    network: fc.nat(7),
    fault: fc.constantFrom<Fault>("none", "none", ...faults),
  }),
  { minLength: 20, maxLength: 60 },
);

class History {
  readonly #store = new MemoryThrottle();
  readonly #skewsMs = Array.from({ length: replicas }, () => 0);
  readonly #throttles: Throttle[];
  readonly #evaluated = new Map<string, number[]>();
  /** As the store's clock has it, jumps included: what is forgotten is forgotten by it. */
  #windows = 1;
  #elapsedMs = 0;
  #isAhead = false;
  #hasJumped = false;

  constructor() {
    this.#throttles = this.#skewsMs.map((_, replica) =>
      newThrottle(this.#store, {
        now: () => this.#store.nowMs + (this.#skewsMs[replica] ?? 0),
      }),
    );
  }

  async begin(): Promise<void> {
    for (const throttle of this.#throttles) await throttle.open();
    for (const account of accounts.keys())
      await this.#attempt(0, account, homeOf(account), "right");
  }

  async take(step: Step): Promise<void> {
    const { kind, replica, account, network, fault } = step;
    const from = `198.51.100.${network}`;
    switch (kind) {
      case "guess":
        await this.#attempt(replica, account, from, "wrong").catch(refused);
        break;
      case "burst":
        await Promise.all(
          Array.from({ length: 20 }, (_, i) =>
            this.#attempt((replica + i) % replicas, account, from, "wrong").catch(refused),
          ),
        );
        break;
      case "stranger":
        // Somebody behind the account's own network, guessing at names of nobody until it is past its limit.
        await Promise.all(
          Array.from({ length: limits.networkFailures }, (_, i) =>
            this.#attempt(
              replica,
              undefined,
              homeOf((account + 2) % 4),
              "wrong",
              60,
              `nobody${i}`,
            ).catch(refused),
          ),
        );
        break;
      case "insider":
        await Promise.all(
          Array.from({ length: 6 }, (_, i) =>
            this.#attempt((replica + i) % replicas, bob, homeOf(bob), "wrong").catch(refused),
          ),
        );
        break;
      case "crowd":
        // The last account's owner travels, and so comes to know every network.
        for (let i = 0; i < 70 && this.#isWhole(); i++) {
          await this.#attempt(replica, 2, `198.51.100.${i}`, "right").catch(refused);
        }
        break;
      case "advance":
        await this.#pass(20_000);
        break;
      case "drift":
        this.#skewsMs[replica] = (network - 3) * 300;
        break;
      case "jump":
        this.#isAhead = !this.#isAhead;
        this.#hasJumped = true;
        this.#store.nowMs += (this.#isAhead ? 1 : -1) * 6 * 60 * minuteMs;
        if (this.#isAhead) this.#windows++;
        await this.#renewLeases();
        break;
      case "fault":
        this.#store.fault = fault;
        if (this.#isWhole()) await this.#renewLeases();
    }
    this.#holdBounds();
    if (this.#isWhole()) await this.#logInFromHome();
  }

  /** Once the store is whole, from elsewhere within the minute, and nothing is left of what failed. */
  async end(): Promise<void> {
    this.#store.fault = "none";
    // What failed is done again within twenty times the first pause; so it is over when nothing was written for longer.
    let writes: number;
    do {
      writes = this.#store.writes;
      await sleep(21 * retryMs);
    } while (writes !== this.#store.writes);
    // A clock that jumps twice brings back what was taken before, for half a minute.
    if (!this.#hasJumped) expect(this.#store.places()).toBe(0);
    // The replica that counted the last failure may be ahead of the one that is asked.
    await this.#pass(minuteMs + skewMsMax);
    await this.#logInFromHome();
    await this.#attempt(0, 0, "203.0.113.1", "right");
    await this.#holdCounts();
    for (const throttle of this.#throttles) await throttle.close();
  }

  #isWhole(): boolean {
    return this.#store.fault === "none" || this.#store.fault === "lags";
  }

  async #logInFromHome(): Promise<void> {
    for (const account of [0, 1]) {
      for (const replica of this.#throttles.keys())
        await this.#attempt(replica, account, homeOf(account), "right", 20_000);
    }
  }

  async #pass(ms: number): Promise<void> {
    this.#store.nowMs += ms;
    this.#elapsedMs += ms;
    this.#windows += ms / (limits.windowSeconds * 1000);
    await this.#renewLeases();
  }

  /** What a timer does. */
  async #renewLeases(): Promise<void> {
    for (const throttle of this.#throttles) await throttle.open();
  }

  async #attempt(
    replica: number,
    account: number | undefined,
    network: string,
    outcome: "right" | "wrong",
    patienceMs = 60,
    name = accounts[account ?? 0] ?? "",
  ): Promise<void> {
    const id = account === undefined ? undefined : idOf(account);
    // The clock stands still meanwhile, so whoever waits for a place that was lost leaves.
    const signal = AbortSignal.timeout(patienceMs);
    const throttle = this.#throttles[replica];
    const permit = await throttle?.admit(name, network, Promise.resolve(id), signal);
    if (outcome === "wrong") {
      const pair = `${name.toLowerCase()} ${network}`;
      this.#evaluated.set(pair, [...(this.#evaluated.get(pair) ?? []), this.#elapsedMs]);
    }
    await Promise.resolve();
    const settled = permit?.settle(outcome, account === undefined ? undefined : name);
    await Promise.race([settled, aborted(signal)]);
  }

  /** What is counted was evaluated. */
  async #holdCounts(): Promise<void> {
    const guesses = [...this.#evaluated].filter(([pair]) => /^alice /.test(pair));
    const evaluated = guesses.flatMap(([, times]) => times).length;
    for await (const { scope, username = "", failures } of this.#throttles[0]?.list() ?? []) {
      if (scope !== "username" || username.toLowerCase() !== "alice") continue;
      expect(failures).toBeLessThanOrEqual(evaluated);
    }
  }

  /** At most twice the limits at a time, and one a minute. */
  #holdBounds(): void {
    for (const [pair, times] of this.#evaluated) this.#holdBound(pair, times, limits.failures);
  }

  #holdBound(what: string, times: readonly number[], limit: number): void {
    const minutes = Math.ceil((this.#elapsedMs - (times[0] ?? 0)) / minuteMs);
    const most = Math.ceil(this.#windows) * 2 * limit + minutes;
    if (times.length > most)
      throw new Error(`${what}: ${times.length} guesses were evaluated in ${minutes} minutes`);
  }
}

/** Rejects when the signal aborts. */
const aborted = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason as Error));
  });

function refused(error: unknown): void {
  if (error instanceof Throttled && (error.retryAfterSeconds ?? 0) <= 60) return;
  if (error instanceof AuthError && error.code === "store_unavailable") return;
  if (error instanceof DOMException && error.name === "TimeoutError") return;
  throw error;
}

test("the laws hold over random histories", async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (history) => {
      const run = new History();
      await run.begin();
      for (const step of history) await run.take(step);
      await run.end();
    }),
    settings,
  );
});

interface Guess {
  /** Of the two replicas, 0 has no lease. */
  readonly replica: number;
  readonly isHome: boolean;
  readonly isTarget: boolean;
  readonly atOnce: number;
  readonly afterMs: number;
}

const guesses = fc.array(
  fc.record<Guess>({
    replica: fc.nat(1),
    isHome: fc.boolean(),
    isTarget: fc.boolean(),
    atOnce: fc.integer({ min: 1, max: 5 }),
    afterMs: fc.constantFrom(0, 0, 0, 0, 5000, 55_000, 61_000, 901_000),
  }),
  { minLength: 5, maxLength: 40 },
);

/** What an attacker is answered who guesses at a name and at others: bob's, who has logged in from home, or nobody's. */
async function answersTo(script: readonly Guess[], account: UserId | undefined) {
  const store = new MemoryThrottle();
  const throttles = [newThrottle(store, store), newThrottle(store, store)] as const;
  await throttles[1].open();
  // Nobody waits for long: no place is lost here.
  const signal = AbortSignal.timeout(20_000);
  const admit = (throttle: Throttle, name: string, network: string, id: UserId | undefined) =>
    throttle.admit(name, network, Promise.resolve(id), signal);
  await (await admit(throttles[0], "bob", homeOf(bob), idOf(bob))).settle("right", "bob");
  const name = account ? "bob" : "zed";
  const answerOf = async (guess: Guess) => {
    try {
      const network = guess.isHome ? homeOf(bob) : "198.51.100.1";
      const throttle = throttles[guess.replica === 0 ? 0 : 1];
      const permit = await (guess.isTarget
        ? admit(throttle, name, network, account)
        : admit(throttle, `n${store.reads}`, network, undefined));
      await new Promise(setImmediate);
      return (await permit.settle("wrong"))?.retryAfterSeconds ?? "refused";
    } catch (error) {
      if (error instanceof Throttled) return error.retryAfterSeconds;
      throw error;
    }
  };
  const answers: unknown[] = [];
  for (const guess of script) {
    store.nowMs += guess.afterMs;
    if (guess.afterMs > 0) await throttles[1].open();
    const all = await Promise.all(Array.from({ length: guess.atOnce }, () => answerOf(guess)));
    answers.push(all.map(String).sort());
  }
  await throttles[1].close();
  return answers;
}

test("no script of guesses is answered differently for an account that knows the network", async () => {
  await fc.assert(
    fc.asyncProperty(guesses, async (script) => {
      expect(await answersTo(script, idOf(bob))).toEqual(await answersTo(script, undefined));
    }),
    { ...settings, numRuns: 2 * settings.numRuns },
  );
});

describe("beside a replica of an earlier version", () => {
  const alice = Promise.resolve(idOf(0));
  const { signal } = new AbortController();

  async function begin() {
    const store = new MemoryThrottle();
    const throttle = newThrottle(store, store);
    await throttle.open();
    const attempt = async (network: string, outcome: "right" | "wrong") => {
      const permit = await throttle.admit("alice", network, alice, signal);
      await new Promise(setImmediate);
      await permit.settle(outcome, "alice");
    };
    return { store, throttle, attempt };
  }
  const documentsOf = (store: MemoryThrottle, kind: string) =>
    [...store.documents]
      .filter(([key]) => key.startsWith(kind))
      .map(([key, { document }]) => {
        const { counters, known } = JSON.parse(document) as Record<"counters" | "known", object>;
        return { key, counter: Object.keys(counters)[0], trust: Object.keys(known)[0] };
      });

  test("no more than the limit is checked by both together", async () => {
    const { store, throttle, attempt } = await begin();
    await attempt("198.51.100.1", "wrong");
    // The counter of the pair is made first.
    const [user] = documentsOf(store, "user:");
    const older = Array.from({ length: 10 }, () =>
      guessAsBefore(store, user?.key ?? "", user?.counter ?? "", limits.failures),
    );
    const newer = Array.from({ length: 10 }, () =>
      attempt("198.51.100.1", "wrong").then(
        () => true,
        (error: unknown) => {
          refused(error);
          return false;
        },
      ),
    );
    const checked = (await Promise.all([...older, ...newer])).filter(Boolean);
    expect(checked).toHaveLength(limits.failures - 1);
    expect(store.places()).toBe(0);
    await throttle.close();
  });

  test("what it has noted as known is known", async () => {
    const { store, throttle, attempt } = await begin();
    await attempt(homeOf(0), "right");
    const [noted] = documentsOf(store, "trust:");
    store.documents.delete(noted?.key ?? "");
    for (let i = 0; i < limits.userFailures; i++) await attempt(`198.51.100.${i}`, "wrong");
    await expect(attempt(homeOf(0), "right")).rejects.toThrow(Throttled);
    const [user] = documentsOf(store, "user:");
    await trustAsBefore(store, user?.key ?? "", noted?.trust ?? "");
    await attempt(homeOf(0), "right");
    await throttle.close();
  });
});
