/**
 * Bounds how many wrong passwords are checked: per username and client network, per username over
 * all networks, and per network. All processes and replicas on one store share the bounds. The
 * façade of this folder: others import only this file. Depends on node:crypto, auth and its
 * neighbours.
 *
 * Every attempt runs through the same counters, whether its user exists or not, so that neither the
 * counters nor the answers reveal a username. Trust is added on top: if the account has logged in
 * from the network, a password may be checked before the attempt takes places, or although it is
 * refused. A right password is then accepted without a change of the counters. A wrong one goes
 * through the counters as every other attempt does, and is answered alike.
 *
 * A pair is a username with a network. At most twice its limit L is checked:
 *
 * - L attempts have places.
 * - Processes check `L/2 + 1` at a time before they take places. None begins another while a wrong
 *   password of its own is not in the store yet.
 * - Past the limit of a username or network, `L/2` are counted in a hidden counter while the pair
 *   has fewer than L failures.
 *
 * So the visible counters miss at most L + 1 checks, the last of them a minute after the first.
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
  /** Default: the store's clock. */
  readonly clock?: { now(): number };
  /** How many passwords this process checks at once, over all usernames. Default 1. */
  readonly checksMax?: number;
  /** Milliseconds until an unconfirmed write is repeated for the first time. Default 250. */
  readonly retryMs?: number;
}

type Outcome = "right" | "wrong" | "unchecked";

/** Permission to check one password. Settle it once, before anybody learns the outcome. */
export interface Permit {
  /** True if only trust lets the attempt pass: any other username is refused at once. */
  readonly isException: boolean;
  /**
   * Records the outcome. Resolves with the refusal to answer a wrong password with, if any other
   * username would have been refused at once.
   *
   * @param username the user's, if there is one; shown to operators.
   * @throws AuthError `store_unavailable`; the outcome must then not be told.
   */
  settle(outcome: Outcome, username?: string): Promise<Throttled | undefined>;
}

/** Lets everything through, for `THROTTLE_FAILURES=0`. */
export const noThrottle: Pick<Throttle, "admit" | "open" | "close"> = {
  admit: () => Promise.resolve({ isException: false, settle: () => Promise.resolve(undefined) }),
  open: () => Promise.resolve(),
  close: () => Promise.resolve(),
};

/** The prefix of a pair's hidden counter, which no other attempt's decision depends on. */
const hidden = "trusted:";

/** The places that an attempt has, or may have, in one record. */
interface Held {
  readonly key: string;
  readonly id: string;
  readonly counters: readonly string[];
  /** Shown to operators for a record of a network. */
  readonly label: string | undefined;
  seen?: Seen;
}

/** An attempt after its records and its account have been read. */
interface Visit {
  readonly keys: AttemptKeys;
  readonly clientNetwork: string;
  readonly seen: Records;
  /**
   * The account's trust in this network, whether noted yet or not; undefined without an account.
   */
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
   * Admits an attempt. Waits while it is not clear yet whether other attempts leave room for it.
   *
   * @param account the user with this name, if there is one; looked up at the same time. Its
   *   rejection is thrown.
   * @throws Throttled if a limit is reached.
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
    // Its rejection is thrown below, after the records have been read.
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

  /** Forgets the failures of a username. False if there were none. */
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

  /** Takes the process's lease and renews it until `close`. Never throws. */
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
    // If a record that was read refuses already, nothing need be written.
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

  /** The name of the noted trust, and the record that holds it. */
  #trustedBy({ keys, seen, trust }: Visit): { name: string; record: ThrottleRecord } | undefined {
    if (trust === undefined) return undefined;
    const record = this.#pruned(seen.trust);
    if (record.trusted[trust]) return { name: trust, record };
    // Earlier versions noted trust in the username's record, the first of them per username instead
    // of per account.
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
   * Takes the places that every attempt needs, the user's first. All attempts keep this order, so
   * that no two wait for each other.
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

  /** Takes a place in the hidden counter while the pair has failures left; undefined if refused. */
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

  /** Takes places in one record. Resolves with the refusal, if there is one. */
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

  /** The permit of an attempt that has places. */
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

  /** The permit of an attempt without places: only a wrong password takes them. */
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
          // Others may have its lease by now, so it has to be admitted as they are.
          const held = await this.#takePlaces(visit, newId());
          if (held instanceof Throttled) throw held;
          await this.#settle(held, outcome, username);
        }
        await this.#noteTrust(visit);
        return undefined;
      },
    };
  }

  /** Counts a wrong password that was checked first, in the same steps as any other. */
  async #countFirst(visit: Visit, username?: string): Promise<Throttled | undefined> {
    const { turn, keys } = visit;
    // Not the caller's signal: it is counted even if the caller is gone.
    const { signal } = new AbortController();
    let hasPlaces = false;
    const count = async () => {
      // Once the places are taken, #settle repeats itself.
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

  /** Takes a place in the hidden counter past its limit, since the password was checked already. */
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

  /** Notes that the account logged in from the network, unless a recent login is noted. */
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

  /** @throws AuthError `store_unavailable`; the write is repeated later. */
  async #settle(held: readonly Held[], outcome: Outcome, username?: string): Promise<void> {
    try {
      await this.#writeOutcome(held, outcome, username, false);
    } catch (error) {
      this.#retries.add(() => this.#writeOutcome(held, outcome, username, true));
      throw error;
    }
  }

  /** Gives back places that may or may not have been taken. */
  #giveBackLater(held: readonly Held[]): void {
    const give = () => this.#writeOutcome(held, "unchecked", undefined, true);
    give().catch(() => this.#retries.add(give));
  }

  /**
   * @param isRepeated whether it may have succeeded before; places that are gone were then settled.
   */
  async #writeOutcome(
    held: readonly Held[],
    outcome: Outcome,
    username: string | undefined,
    isRepeated: boolean,
  ): Promise<void> {
    const wasHeld = new Set<string>();
    await Promise.all(
      held.map(({ key, id, counters, seen, label: own }) =>
        this.#ledger.change(
          key,
          (record, nowMs) => {
            const isHeld = hasPlace(record, counters, id);
            if ((isRepeated || wasHeld.has(key)) && !isHeld) return { result: undefined };
            // If the place is gone when this is called again, a write whose answer was lost has settled it.
            if (isHeld) wasHeld.add(key);
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

  /** Resolves with the places if they come within the budget. Later ones are given back. */
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

/** Whether this counter holds failures. */
const failed = ({ counters }: ThrottleRecord, name: string) => (counters[name]?.failures ?? 0) > 0;

function refusalOf(kind: "user" | "network", taking: Taking): Throttled | undefined {
  return taking.verdict === "refused"
    ? new Throttled(scopeOf(kind, taking.counter), taking.waitMs)
    : undefined;
}
