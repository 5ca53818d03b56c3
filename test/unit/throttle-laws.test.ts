/**
 * The throttle over random histories: replicas, accounts whose names fold alike, known and unknown
 * networks, a store that fails, or applies without confirming, and a clock that jumps. The seed is printed when a law is
 * broken; `THROTTLE_SEED` sets it, `THROTTLE_HISTORIES` their number.
 */
import fc from "fast-check";
import { expect, test } from "@jest/globals";
import { AuthError } from "../../src/auth/errors.js";
import { createThrottle, Throttled, type Throttle } from "../../src/auth/throttle/throttle.js";
import type { ThrottleDocument, ThrottleStore } from "../../src/auth/throttle/throttle.js";

const limits = { failures: 4, userFailures: 8, networkFailures: 8, windowSeconds: 900 };
const replicas = 3;
/** The last one is let alone but for what is compared with a name of nobody. */
const accounts = ["alice", "ALICE", "Alice", "bob"] as const;
const bob = 3;
const homeOf = (account: number) => `192.0.2.${account}`;
const minuteMs = 60_000;

type Fault = "none" | "fails" | "unconfirmed";

/** A store in memory. */
class MemoryThrottle implements ThrottleStore {
  fault: Fault = "none";
  readonly #documents = new Map<string, { version: string; document: string }>();
  #versions = 0;

  async read(keys: readonly string[]) {
    await Promise.resolve();
    if (this.fault === "fails") throw unavailable();
    return keys.map((key) => this.#documents.get(key));
  }

  async write(key: string, version: string | undefined, { document }: ThrottleDocument) {
    await Promise.resolve();
    if (this.fault === "fails") throw unavailable();
    if (this.#documents.get(key)?.version !== version) return undefined;
    const next = { version: String(++this.#versions), document };
    this.#documents.set(key, next);
    if (this.fault === "unconfirmed") throw unavailable();
    return next.version;
  }

  async *list() {
    await Promise.resolve();
    for (const [key, { document }] of this.#documents) yield { key, document };
  }
}

const unavailable = () => new AuthError("store_unavailable", "down", { retryAfterSeconds: 1 });

const kinds = [
  "guess",
  "burst",
  "stranger",
  "compare",
  "crowd",
  "advance",
  "jump",
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
    fault: fc.constantFrom<Fault>("none", "none", "fails", "unconfirmed"),
  }),
  { minLength: 20, maxLength: 60 },
);

class History {
  readonly #store = new MemoryThrottle();
  readonly #throttles: Throttle[];
  readonly #evaluated = new Map<string, number[]>();
  #nowMs = Date.UTC(2026, 0, 1);
  readonly #comparisons: [unknown, unknown][] = [];
  #isOver = false;
  #aheadMs = 0;
  #elapsedMs = 0;

  constructor() {
    this.#throttles = Array.from({ length: replicas }, () =>
      createThrottle({
        store: this.#store,
        secret: () => Promise.resolve(new Uint8Array(32)),
        limits,
        isExempt: () => false,
        usernameKey: (name) => name,
        clock: { now: () => this.#nowMs + this.#aheadMs },
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
        // Somebody behind the account's own network, guessing at a name of nobody.
        for (const home of [homeOf(account), homeOf(bob)]) {
          await this.#attempt(replica, undefined, home, "wrong").catch(refused);
        }
        break;
      case "compare":
        await this.#compare(replica);
        break;
      case "crowd":
        // The last account's owner travels, and so comes to know every network.
        for (let i = 0; i < 70 && this.#store.fault === "none"; i++) {
          await this.#attempt(replica, 2, `198.51.100.${i}`, "right").catch(refused);
        }
        break;
      case "advance":
        this.#pass(20_000);
        break;
      case "jump":
        this.#aheadMs = this.#aheadMs === 0 ? 6 * 60 * minuteMs : 0;
        break;
      case "fault":
        this.#store.fault = fault;
    }
    this.#holdBound();
  }

  /** Once the store is whole and the clock right: at once from home, within the minute from elsewhere. */
  async end(): Promise<void> {
    this.#isOver = true;
    this.#store.fault = "none";
    this.#aheadMs = 0;
    // What a failed store left open is given back within half a minute.
    this.#pass(31_000);
    for (const account of [0, 1, bob]) {
      for (const replica of this.#throttles.keys()) {
        await this.#attempt(replica, account, homeOf(account), "right");
      }
    }
    this.#pass(minuteMs - 31_000);
    await this.#attempt(0, 0, "203.0.113.1", "right");
  }

  #pass(ms: number): void {
    this.#nowMs += ms;
    this.#elapsedMs += ms;
  }

  async #attempt(
    replica: number,
    account: number | undefined,
    network: string,
    outcome: "right" | "wrong",
  ): Promise<void> {
    const name = account === undefined ? "nobody" : (accounts[account] ?? "");
    const id =
      account === undefined ? undefined : ({ type: "int", value: String(account) } as const);
    // The clock stands still meanwhile, so whoever waits for a place that was lost leaves.
    const signal = AbortSignal.timeout(this.#isOver ? 10_000 : 60);
    const throttle = this.#throttles[replica];
    const permit = await throttle?.admit(name, network, Promise.resolve(id), signal);
    if (outcome === "wrong") {
      const pair = `${account === 2 ? name : name.toLowerCase()} ${network}`;
      this.#evaluated.set(pair, [...(this.#evaluated.get(pair) ?? []), this.#elapsedMs]);
    }
    await permit?.settle(outcome, account === undefined ? undefined : name);
  }

  /** A wrong password of an account at home is answered as a name of nobody is, where that is refused. */
  async #compare(replica: number): Promise<void> {
    const signal = AbortSignal.timeout(1000);
    const throttle = this.#throttles[replica];
    const answerTo = async (name: string, account: number | undefined) => {
      const id =
        account === undefined ? undefined : ({ type: "int", value: String(account) } as const);
      try {
        const permit = await throttle?.admit(name, homeOf(bob), Promise.resolve(id), signal);
        await permit?.settle(permit.refusal ? "wrong" : "unchecked");
        return permit?.refusal;
      } catch (error) {
        return error;
      }
    };
    const nobody = await answerTo(`nobody${this.#nowMs}`, undefined);
    if (nobody instanceof Throttled) this.#comparisons.push([await answerTo("bob", bob), nobody]);
  }

  /** What is counted was evaluated. */
  async holdCounts(): Promise<void> {
    const guesses = [...this.#evaluated].filter(([pair]) => /^alice /i.test(pair));
    const evaluated = guesses.flatMap(([, times]) => times).length;
    for await (const { scope, username = "", failures } of this.#throttles[0]?.list() ?? []) {
      if (scope !== "username" || username.toLowerCase() !== "alice") continue;
      expect(failures).toBeLessThanOrEqual(evaluated);
    }
    for (const [known, unknown] of this.#comparisons) expect(known).toEqual(unknown);
  }

  /** At most twice the limits at a time, and one a minute. */
  #holdBound(): void {
    const strange = [...this.#evaluated].filter(([pair]) => /^alice 198/.test(pair));
    const all = strange.flatMap(([, times]) => times);
    const minutesOfAll = Math.ceil(this.#elapsedMs / minuteMs);
    const windowsOfAll = 1 + Math.floor(this.#elapsedMs / (limits.windowSeconds * 1000));
    expect(all.length).toBeLessThanOrEqual(
      windowsOfAll * 2 * limits.userFailures + minutesOfAll + 1,
    );
    for (const [pair, times] of this.#evaluated) {
      const [first = 0] = times;
      const minutes = Math.ceil((this.#elapsedMs - first) / minuteMs);
      const windows = 1 + Math.floor((this.#elapsedMs - first) / (limits.windowSeconds * 1000));
      if (times.length > windows * 2 * limits.failures + minutes) {
        throw new Error(`${pair}: ${times.length} guesses were evaluated in ${minutes} minutes`);
      }
    }
  }
}

function refused(error: unknown): void {
  if (error instanceof Throttled && (error.retryAfterSeconds ?? 0) <= 60) return;
  if (error instanceof AuthError && error.code === "store_unavailable") return;
  if (error instanceof DOMException && error.name === "TimeoutError") return;
  throw error;
}

test("the laws hold over random histories", async () => {
  const { THROTTLE_SEED, THROTTLE_HISTORIES = "30" } = process.env;
  await fc.assert(
    fc.asyncProperty(steps, async (history) => {
      const run = new History();
      await run.begin();
      for (const step of history) await run.take(step);
      await run.end();
      await run.holdCounts();
    }),
    {
      endOnFailure: process.env["THROTTLE_SHRINK"] === undefined,
      numRuns: Number(THROTTLE_HISTORIES),
      ...(THROTTLE_SEED !== undefined && { seed: Number(THROTTLE_SEED) }),
    },
  );
});
