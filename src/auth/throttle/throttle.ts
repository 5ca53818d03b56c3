/**
 * Bounds how many wrong passwords are checked: per username and client network, per username over all
 * networks, and per network; over all processes and replicas that share the store. The door of this folder:
 * nothing outside imports another of its files. Depends on node:crypto, auth and its neighbours.
 *
 * Every attempt runs through the same counters, whoever it is for, so that nothing in them or in the answers
 * tells a name. Trust, that the account has logged in from the network, is laid over them: the attempt may be
 * checked before it takes its places, or although it is refused. If the password is right it is in, and
 * nothing was written; if not, it goes the way of all and is answered as they are.
 *
 * Why no more than twice the limit L of a pair is checked: L have places. Besides them processes check
 * `L/2 + 1` at a time before they take places, each no more once one of its own was wrong and is not in the store
 * yet; and past the limits of a name or network `L/2` are counted out of sight, while the pair has fewer than L
 * failures. So L and one more at most are checked that the counters do not let through, the last of them a minute
 * after the first.
 */
import { randomBytes } from "node:crypto";
import type { StoreBudget } from "../store-budget.js";
import type { UserId } from "../users.js";
import { Keys, type AttemptKeys, type KeyOptions } from "./keys.js";
import { checkMaxMs, Lease } from "./lease.js";
import { Ledger, type Seen } from "./ledger.js";
import { listEntries, type ThrottleEntry } from "./listing.js";
import {
  addTrust,
  countFailure,
  giveBack,
  hasPlace,
  isTrustStale,
  prune,
  takePlaces,
  type Limit,
  type Taking,
  type ThrottleRecord,
} from "./record.js";
import { Retries } from "./retries.js";
import type { ThrottleStore } from "./store.js";
import { all, scopeOf, Throttled, type ThrottleLimits } from "./throttled.js";
import { Turns, type Turn } from "./turns.js";

export type { ThrottleEntry } from "./listing.js";
export type { ThrottleDocument, ThrottleStore } from "./store.js";
export { Throttled, type ThrottleLimits, type ThrottleScope } from "./throttled.js";
export { foldUsername } from "./username-fold.js";

export interface ThrottleOptions extends KeyOptions {
  readonly store: ThrottleStore;
  readonly limits: ThrottleLimits;
  /** Default: the store's. */
  readonly clock?: { now(): number };
  /** How many passwords this process checks at once, of all names together. Default 1. */
  readonly checksMax?: number;
  /** Time until what the store did not confirm is done again, the first time. Default 250 ms. */
  readonly retryMs?: number;
}

type Outcome = "right" | "wrong" | "unchecked";

/** The leave to check one password. It must be settled once, before the outcome is told to anybody. */
export interface Permit {
  /** Whether trust alone lets it pass: any other name is refused there and then. */
  readonly isException: boolean;
  /**
   * Resolves with what a wrong password is answered, where any other name would be refused there and then.
   *
   * @param username that of the user, where there is one: what an operator sees in the list.
   * @throws AuthError `store_unavailable`: then the outcome must not be told.
   */
  settle(outcome: Outcome, username?: string): Promise<Throttled | undefined>;
}

/** Lets everything through: `THROTTLE_FAILURES=0`. */
export const noThrottle: Pick<Throttle, "admit" | "open" | "close"> = {
  admit: () => Promise.resolve({ isException: false, settle: () => Promise.resolve(undefined) }),
  open: () => Promise.resolve(),
  close: () => Promise.resolve(),
};

/** What the name of a pair's counter has before it that counts out of sight. */
const hidden = "trusted:";

/** The places that an attempt has, or may have, in one record. */
interface Held {
  readonly key: string;
  readonly id: string;
  readonly counters: readonly string[];
  /** What an operator sees of a record that is not a user's. */
  readonly label: string | undefined;
  seen?: Seen;
}

/** What is known of an attempt once the records and the account have been read. */
interface Visit {
  readonly keys: AttemptKeys;
  readonly clientNetwork: string;
  readonly seen: Records;
  /** The account's trust in this network, whether it is there yet or not; undefined without account. */
  readonly trust: string | undefined;
  readonly turn: Turn;
  readonly signal: AbortSignal;
  readonly budget: StoreBudget | undefined;
}

interface Records {
  readonly user: Seen;
  readonly trust: Seen;
  readonly network: Seen | undefined;
}

export class Throttle {
  readonly #options: ThrottleOptions;
  readonly #clock: { now(): number };
  readonly #windowMs: number;
  readonly #ledger: Ledger;
  readonly #lease: Lease;
  readonly #turns: Turns;
  readonly #keys: Keys;
  readonly #retries: Retries;

  constructor(options: ThrottleOptions) {
    const { store, limits, clock = store, checksMax = 1 } = options;
    this.#options = options;
    this.#clock = clock;
    this.#windowMs = limits.windowSeconds * 1000;
    this.#ledger = new Ledger({ store, windowMs: this.#windowMs, clock });
    const max = Math.floor(limits.failures / 2) + 1;
    this.#lease = new Lease({ store, max, wanted: checksMax, clock });
    this.#turns = new Turns(() => this.#lease.count());
    this.#keys = new Keys(options);
    this.#retries = new Retries(options.retryMs);
  }

  /**
   * Waits while it is not clear yet whether other attempts leave room for one more.
   *
   * @param account whose name it is, if anybody's; looked up meanwhile. What it rejects with is thrown.
   * @throws Throttled where a limit is reached.
   * @throws AuthError `store_unavailable`.
   * @throws the signal's reason.
   */
  async admit(
    username: string,
    network: string,
    account: Promise<UserId | undefined>,
    signal: AbortSignal,
    budget?: StoreBudget,
  ): Promise<Permit> {
    // Its failure is thrown once the records have been read.
    account.catch(() => undefined);
    const keys = await this.#keys.of(username, network);
    const turn = this.#turns.enter(keys.pair);
    try {
      const looked = Promise.all([this.#read(keys), account]);
      const [seen, id] = await (budget?.during(looked) ?? looked);
      signal.throwIfAborted();
      const trust = id && keys.trustOf(id);
      const visit = { keys, clientNetwork: network, seen, trust, turn, signal, budget };
      return await this.#admit(visit);
    } catch (error) {
      turn.leave();
      throw error;
    }
  }

  /** Forgets the failures of a username. False where there were none. */
  async unlock(username: string): Promise<boolean> {
    const { user } = await this.#keys.of(username, "");
    const { result } = await this.#ledger.change(user, (record) =>
      Object.keys(record.counters).length === 0
        ? { result: false }
        : { result: true, record: { ...record, counters: {} } },
    );
    return result;
  }

  /** What is counted at present, in no particular order. */
  list(): AsyncIterable<ThrottleEntry> {
    return listEntries(this.#options.store, this.#options.limits, this.#clock);
  }

  /** Takes the process's lease and keeps it until `close`. Never throws. */
  open(): Promise<void> {
    return this.#lease.open();
  }

  async close(): Promise<void> {
    this.#retries.close();
    await this.#lease.close();
  }

  async #read(keys: AttemptKeys): Promise<Records> {
    const names = [keys.user, keys.trust, ...(keys.network === undefined ? [] : [keys.network])];
    const [user, trust, network] = await this.#ledger.read(names);
    if (user === undefined || trust === undefined) throw new Error("the store left out a record");
    return { user, trust, network };
  }

  async #admit(visit: Visit): Promise<Permit> {
    const { keys, seen, turn, signal } = visit;
    const user = this.#pruned(seen.user);
    const isTrusted = this.#trustedBy(visit) !== undefined;
    // A look at the records spares the writes where one of them refuses.
    const refusal = this.#refusalBy(visit, user);
    if (isTrusted && this.#mayGoFirst(user, keys.pair) && (await turn.first(signal)))
      return this.#permitFirst(visit, refusal !== undefined);
    const held = refusal ?? (await this.#inTime(this.#takePlaces(visit, newId()), visit));
    if (!(held instanceof Throttled)) return this.#permit(visit, held);
    if (!isTrusted || !held.isLifted) throw held;
    const out = await this.#inTime(this.#takeOutOfSight(visit, newId()), visit);
    if (out === undefined) throw held;
    return this.#permit(visit, [out], held);
  }

  #pruned({ record }: Seen): ThrottleRecord {
    return prune(record, this.#clock.now(), this.#windowMs);
  }

  /** The name of the trust that is there, and the record that has it. */
  #trustedBy({ keys, seen, trust }: Visit): { name: string; record: ThrottleRecord } | undefined {
    if (trust === undefined) return undefined;
    const record = this.#pruned(seen.trust);
    if (record.trusted[trust]) return { name: trust, record };
    // Earlier versions kept it with the name; the first of them for all accounts of a name.
    const older = this.#pruned(seen.user);
    const name = [trust, keys.pair].find((name) => older.trusted[name]);
    return name === undefined ? undefined : { name, record: older };
  }

  #mayGoFirst({ counters }: ThrottleRecord, pair: string): boolean {
    const failures = counters[pair]?.failures ?? 0;
    return failures < this.#options.limits.failures && !(counters[hidden + pair]?.failures ?? 0);
  }

  #limitsOf(pair: string): { user: readonly Limit[]; network: readonly Limit[] } {
    const { failures, userFailures, networkFailures } = this.#options.limits;
    return {
      user: [
        { counter: pair, max: failures },
        { counter: all, max: userFailures },
      ],
      network: [{ counter: all, max: networkFailures }],
    };
  }

  #refusalBy({ keys, seen }: Visit, user: ThrottleRecord): Throttled | undefined {
    const { pair } = keys;
    const limits = this.#limitsOf(pair);
    const hasFailed = failed(user, pair);
    const nowMs = this.#clock.now();
    return (
      refusalOf("user", takePlaces(user, limits.user, "", nowMs, hasFailed)) ??
      (seen.network &&
        refusalOf(
          "network",
          takePlaces(this.#pruned(seen.network), limits.network, "", nowMs, hasFailed),
        ))
    );
  }

  /**
   * Takes the places that every attempt needs, the user's first: in one order for all, so that none wait for
   * one another.
   */
  async #takePlaces(
    { keys, clientNetwork, seen, signal, budget }: Visit,
    id: string,
  ): Promise<Held[] | Throttled> {
    const { pair } = keys;
    const limits = this.#limitsOf(pair);
    const ask = { signal, budget };
    const user = heldIn(keys.user, id, limits.user);
    const held = [user];
    try {
      let hasFailed = false;
      const ofUser = await this.#take(user, seen.user, ask, (record, nowMs) => {
        hasFailed = failed(record, pair);
        return takePlaces(record, limits.user, id, nowMs, hasFailed);
      });
      if (ofUser) return new Throttled(scopeOf("user", ofUser.counter), ofUser.waitMs);
      if (keys.network !== undefined) {
        const network = heldIn(keys.network, id, limits.network, clientNetwork);
        held.push(network);
        const ofNetwork = await this.#take(network, seen.network, ask, (record, nowMs) =>
          takePlaces(record, limits.network, id, nowMs, hasFailed),
        );
        if (ofNetwork) {
          await this.#settle([user], "unchecked");
          return new Throttled("network", ofNetwork.waitMs);
        }
      }
      signal.throwIfAborted();
      return held;
    } catch (error) {
      this.#giveBackLater(held);
      throw error;
    }
  }

  /** Takes a place that no other name's attempt sees, while the pair has failures left; undefined where refused. */
  async #takeOutOfSight(
    { keys, seen, signal, budget }: Visit,
    id: string,
  ): Promise<Held | undefined> {
    const { failures } = this.#options.limits;
    const own = [{ counter: keys.pair, max: failures }];
    const limits = [{ counter: hidden + keys.pair, max: Math.ceil(failures / 2) }];
    const held = heldIn(keys.user, id, limits);
    try {
      const refused = await this.#take(held, seen.user, { signal, budget }, (record, nowMs) => {
        const visible = takePlaces(record, own, id, nowMs, failed(record, keys.pair));
        if (visible.verdict !== "taken") return visible;
        return takePlaces(record, limits, id, nowMs, failed(record, hidden + keys.pair));
      });
      return refused ? undefined : held;
    } catch (error) {
      this.#giveBackLater([held]);
      throw error;
    }
  }

  /** Takes places in one record; resolves with the refusal, if it is one. */
  async #take(
    held: Held,
    seen: Seen | undefined,
    ask: { readonly signal?: AbortSignal | undefined; readonly budget?: StoreBudget | undefined },
    take: (record: ThrottleRecord, nowMs: number) => Taking,
  ) {
    const { result, seen: now } = await this.#ledger.change(
      held.key,
      (record, nowMs) => {
        const taking = take(record, nowMs);
        if (taking.verdict === "wait") return "wait";
        return taking.verdict === "taken"
          ? { result: undefined, record: taking.record }
          : { result: taking };
      },
      { seen, ...ask },
    );
    held.seen = now;
    return result;
  }

  /** For an attempt that has places. */
  async #permit(visit: Visit, held: readonly Held[], refusal?: Throttled): Promise<Permit> {
    const { turn, signal } = visit;
    try {
      await turn.next(signal);
    } catch (error) {
      this.#giveBackLater(held);
      throw error;
    }
    return {
      isException: refusal !== undefined,
      settle: async (outcome, username) => {
        turn.leave();
        const settled = this.#settle(held, outcome, username);
        await Promise.all([settled, outcome === "right" && this.#noteTrust(visit)]);
        return refusal;
      },
    };
  }

  /** For an attempt that has none: only a wrong one takes them. */
  #permitFirst(visit: Visit, isException: boolean): Permit {
    const { turn } = visit;
    const startMs = this.#clock.now();
    return {
      isException,
      settle: async (outcome, username) => {
        if (outcome === "wrong") return this.#countFirst(visit, username);
        turn.leave();
        if (outcome === "unchecked") return undefined;
        if (this.#clock.now() - startMs >= checkMaxMs) {
          // Others may have its lease by now: it has to be one of those that were let through.
          const held = await this.#takePlaces(visit, newId());
          if (held instanceof Throttled) throw held;
          await this.#settle(held, outcome, username);
        }
        await this.#noteTrust(visit);
        return undefined;
      },
    };
  }

  /** Counts a wrong password that was checked first, in the steps that every other one is counted in. */
  async #countFirst(visit: Visit, username?: string): Promise<Throttled | undefined> {
    const { turn, keys } = visit;
    // Whether its caller is still there or not.
    const { signal } = new AbortController();
    let hasPlaces = false;
    const count = async () => {
      // What has its places is settled again by itself.
      if (hasPlaces) return undefined;
      const held = await this.#takePlaces({ ...visit, signal }, newId());
      const refusal = held instanceof Throttled ? held : undefined;
      if (refusal && !refusal.isLifted) return refusal;
      const places = refusal ? [await this.#takeBeyond(keys)] : (held as readonly Held[]);
      hasPlaces = true;
      await this.#settle(places, "wrong", username);
      return refusal;
    };
    const end = () => {
      turn.counted();
      turn.leave();
    };
    turn.endWrong();
    try {
      const refusal = await count();
      end();
      return refusal;
    } catch (error) {
      this.#retries.add(count, end);
      throw error;
    }
  }

  /** Takes a place out of sight, however many there are: its password has been checked. */
  async #takeBeyond({ user, pair }: AttemptKeys): Promise<Held> {
    const id = newId();
    const limits = [{ counter: hidden + pair, max: Infinity }];
    const held = heldIn(user, id, limits);
    try {
      await this.#take(held, undefined, {}, (record, nowMs) =>
        takePlaces(record, limits, id, nowMs, true),
      );
      return held;
    } catch (error) {
      this.#giveBackLater([held]);
      throw error;
    }
  }

  /** Notes the login of an account from a network, unless that is noted and recent. */
  async #noteTrust(visit: Visit): Promise<void> {
    const { keys, seen, trust } = visit;
    if (trust === undefined) return;
    const trusted = this.#trustedBy(visit);
    const isNoted = trusted?.name === trust;
    if (isNoted && !isTrustStale(trusted.record, trust, this.#clock.now())) return;
    await this.#ledger.change(
      keys.trust,
      (record, nowMs) => ({ result: undefined, record: addTrust(record, trust, nowMs) }),
      { seen: seen.trust },
    );
  }

  /** @throws AuthError `store_unavailable`; it is done later then. */
  async #settle(held: readonly Held[], outcome: Outcome, username?: string): Promise<void> {
    try {
      await this.#writeOutcome(held, outcome, username, false);
    } catch (error) {
      this.#retries.add(() => this.#writeOutcome(held, outcome, username, true));
      throw error;
    }
  }

  /** For places that may have been taken, or not. */
  #giveBackLater(held: readonly Held[]): void {
    const give = () => this.#writeOutcome(held, "unchecked", undefined, true);
    give().catch(() => this.#retries.add(give));
  }

  /** @param isRepeated whether it may have been done before: then places that are gone were settled. */
  async #writeOutcome(
    held: readonly Held[],
    outcome: Outcome,
    username: string | undefined,
    isRepeated: boolean,
  ): Promise<void> {
    await Promise.all(
      held.map(({ key, id, counters, seen, label: own }) =>
        this.#ledger.change(
          key,
          (record, nowMs) => {
            if (isRepeated && !hasPlace(record, counters, id)) return { result: undefined };
            const label = own ?? username;
            const labelled = label === undefined ? record : { ...record, label };
            const settle = outcome === "wrong" ? countFailure : giveBack;
            return { result: undefined, record: settle(labelled, counters, id, nowMs) };
          },
          { seen },
        ),
      ),
    );
  }

  /** The places, unless the time for them is over: then they go back once they come. */
  async #inTime<T extends Held | readonly Held[] | Throttled | undefined>(
    taking: Promise<T>,
    { budget }: Visit,
  ): Promise<T> {
    if (budget === undefined) return taking;
    try {
      return await budget.during(taking);
    } catch (error) {
      taking
        .then((held) => {
          if (held !== undefined && !(held instanceof Throttled))
            this.#giveBackLater(([] as readonly Held[]).concat(held));
        })
        .catch(() => undefined);
      throw error;
    }
  }
}

const newId = () => randomBytes(9).toString("base64url").replace(/^-/, "_");

const heldIn = (key: string, id: string, limits: readonly Limit[], label?: string): Held => ({
  key,
  id,
  counters: limits.map(({ counter }) => counter),
  label,
});

/** Whether there are failures in that counter. */
const failed = ({ counters }: ThrottleRecord, name: string) => (counters[name]?.failures ?? 0) > 0;

function refusalOf(kind: "user" | "network", taking: Taking): Throttled | undefined {
  return taking.verdict === "refused"
    ? new Throttled(scopeOf(kind, taking.counter), taking.waitMs)
    : undefined;
}
