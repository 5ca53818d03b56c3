/**
 * The one gate in front of every password check: throttle, bounded hashing, outcome. Nothing else
 * checks a password, and nothing outside this folder imports another of its files. Depends on the rest
 * of auth.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { PasswordCredentials } from "../credentials.js";
import { AuthError } from "../errors.js";
import type { HashPlace, HashQueue } from "./hash-queue.js";
import { ownOpinion, type SecondOpinion } from "./second-opinion.js";
import { inspectHash, verifyPassword, type Decoy } from "../passwords/passwords.js";
import type { Rehasher } from "../passwords/rehash.js";
import { Throttled, type Throttle, type ThrottleScope } from "../throttle/throttle.js";
import { StoreBudget } from "../store-budget.js";
import type { User, UserId, UserStore } from "../users.js";

export { HashQueue, type HashPlace } from "./hash-queue.js";
export { acceptedAlone, type OwnVerdict, type SecondOpinion } from "./second-opinion.js";

/** The ways in which a password may come. */
export type Surface = "rpc_login" | "rpc_issue_token" | "rest_login" | "rest_token";

/** Who asks for a password to be checked, and how. */
export interface Attempt {
  readonly surface: Surface;
  /** An IPv4 address, or an IPv6 /64. */
  readonly clientNetwork: string;
  /** Aborts when nobody waits for the answer any more; its reason is then thrown. */
  readonly signal: AbortSignal | undefined;
  readonly requestId: string;
  /** What the caller wants to find in the event again. */
  readonly labels?: object | undefined;
}

/** Why an attempt ended as it did; for operators, never for callers. */
export type AttemptReason =
  | "accepted"
  | "unknown_user"
  | "wrong_password"
  | "disabled"
  | "no_usable_hash"
  | `throttled_by_${ThrottleScope}`
  | "overloaded"
  | "store_unavailable"
  | "aborted"
  | "internal";

/** One attempt, once it is over. Nothing in it is secret. */
export interface AttemptEvent {
  readonly surface: Surface;
  readonly reason: AttemptReason;
  /** As it was given, but bounded and without control characters: see {@link safeUsername}. */
  readonly username: string;
  readonly clientNetwork: string;
  readonly requestId: string;
  /** Milliseconds from the attempt to the start of its hash; undefined where none was computed. */
  readonly waitedMs: number | undefined;
  readonly labels?: object;
}

/** Whether a password fits a stored hash; without one the decoy is computed. */
export type Verify = typeof verifyPassword;

export interface GateDependencies {
  readonly users: Pick<UserStore, "findByUsername">;
  readonly decoy: Decoy;
  readonly queue: Pick<HashQueue, "enter">;
  readonly rehasher: Pick<Rehasher, "loggedIn">;
  readonly throttle: Pick<Throttle, "admit">;
  /** Default: our own check alone decides. */
  readonly secondOpinion?: SecondOpinion | undefined;
  readonly onAttempt: (event: AttemptEvent) => void;
  /** Milliseconds that only go forward. */
  readonly now: () => number;
  /** Rejects when the signal aborts. Default: timers of Node. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
  /** All that one attempt may wait for the store, over all its calls. Default 4500 ms. */
  readonly storeMs?: number;
  /** Put around each check of a password, to observe it. */
  readonly observeVerify?: ((verify: Verify) => Verify) | undefined;
}

/**
 * A refusal that trust in a network may lift is answered so long after the turn to hash, or a multiple
 * of it: a wrong password that was hashed all the same is answered then too.
 */
const refusalMs = 1000;

/** What became of an attempt whose password was checked. */
interface Checked {
  readonly user: User | undefined;
  readonly matches: boolean;
  /** Who may log in. */
  readonly accepted: User | undefined;
  /** The answer to a wrong password in place of the usual one. */
  readonly refusal: Throttled | undefined;
}

export class Gate {
  readonly #deps: GateDependencies;
  readonly #verify: Verify;
  readonly #sleep: (ms: number, signal: AbortSignal) => Promise<void>;

  constructor(deps: GateDependencies) {
    this.#deps = deps;
    this.#verify = deps.observeVerify?.(verifyPassword) ?? verifyPassword;
    this.#sleep = deps.sleep ?? ((ms, signal) => sleep(ms, undefined, { signal }));
  }

  /**
   * The user of that name and password.
   *
   * @throws AuthError `invalid_credentials`, `rate_limited`, `overloaded`, `store_unavailable`.
   * @throws the reason of the attempt's signal where that aborts before the hash has begun.
   */
  async check(credentials: PasswordCredentials, attempt: Attempt): Promise<User> {
    const { queue, rehasher, now } = this.#deps;
    const startMs = now();
    let turnMs: number | undefined;
    const tell = (reason: AttemptReason) =>
      this.#tell(credentials, attempt, reason, turnMs === undefined ? undefined : turnMs - startMs);
    let place: HashPlace | undefined;
    try {
      place = queue.enter(attempt.clientNetwork, attempt.signal);
      const onTurn = () => (turnMs = now());
      const checked = await this.#evaluate(credentials, attempt, place, startMs, onTurn);
      const { accepted, refusal } = checked;
      tell(reasonOf(checked));
      if (accepted) {
        rehasher.loggedIn(accepted, credentials.password);
        return accepted;
      }
      if (refusal?.isLifted) await this.#untilTold(turnMs ?? startMs, place.signal);
      if (refusal) throw refusal;
    } catch (error) {
      if (turnMs === undefined || !isLifted(error)) tell(reasonOfError(error, attempt.signal));
      if (turnMs === undefined && place && isLifted(error)) {
        const turn = await place.run(() => Promise.resolve(now()));
        await this.#untilTold(turn, place.signal);
      }
      throw error;
    } finally {
      place?.leave();
    }
    throw new AuthError("invalid_credentials", "credentials refused");
  }

  async #evaluate(
    credentials: PasswordCredentials,
    { clientNetwork, surface }: Attempt,
    place: HashPlace,
    startMs: number,
    onTurn: () => void,
  ): Promise<Checked> {
    const { username, password } = credentials;
    const { users, decoy, throttle, now, storeMs = 4500 } = this.#deps;
    const { secondOpinion = ownOpinion } = this.#deps;
    const found = users.findByUsername(username);
    const id = found.then((user) => user?.id);
    const budget = new StoreBudget(storeMs, now);
    const permit = await throttle.admit(username, clientNetwork, id, place.signal, budget);
    const user = await found;
    let matches: boolean;
    let accepted: User | undefined;
    try {
      matches = await place.run(() => {
        onTurn();
        return this.#verify(user?.passwordHash, password, decoy.hashFor(username));
      });
      const mayAsk = !permit.isException;
      accepted = await secondOpinion.decide(credentials, {
        ...{ user, matches, network: clientNetwork, surface, mayAsk },
        elapsedMs: now() - startMs,
        countLate: () => void this.#countLate(username, clientNetwork, id),
      });
    } catch (error) {
      await permit.settle("unchecked");
      throw error;
    }
    const { username: label } = accepted ?? user ?? {};
    const refusal = await budget.during(permit.settle(accepted ? "right" : "wrong", label));
    return { user, matches, accepted, refusal };
  }

  /** Counts a wrong password whose attempt has been answered already. Never rejects. */
  async #countLate(username: string, network: string, id: Promise<UserId | undefined>) {
    const { signal } = new AbortController();
    try {
      const permit = await this.#deps.throttle.admit(username, network, id, signal);
      await permit.settle("wrong");
    } catch {
      // Past the limit already, or the store is down: then the throttle counts it once it can.
    }
  }

  /** Waits until the refusal of an attempt may be told whose turn came at `turnMs`. */
  async #untilTold(turnMs: number, signal: AbortSignal): Promise<void> {
    const waitMs = refusalMs - ((this.#deps.now() - turnMs) % refusalMs);
    await this.#sleep(waitMs, signal).catch(() => signal.throwIfAborted());
  }

  #tell(
    credentials: PasswordCredentials,
    { surface, clientNetwork, requestId, labels }: Attempt,
    reason: AttemptReason,
    waitedMs: number | undefined,
  ): void {
    const username = safeUsername(credentials.username);
    this.#deps.onAttempt({
      ...{ surface, reason, username, clientNetwork, requestId, waitedMs },
      ...(labels && { labels }),
    });
  }
}

/** Whether trust in a network lifts such a refusal. */
const isLifted = (error: unknown) => error instanceof Throttled && error.isLifted;

function reasonOf({ user, matches, accepted }: Checked): AttemptReason {
  if (accepted) return "accepted";
  if (user === undefined) return "unknown_user";
  if (!matches) {
    const isUsable =
      user.passwordHash !== undefined && inspectHash(user.passwordHash).verdict === "ok";
    return isUsable ? "wrong_password" : "no_usable_hash";
  }
  // One who is not disabled was refused by a second opinion.
  return user.disabled ? "disabled" : "wrong_password";
}

function reasonOfError(error: unknown, signal: AbortSignal | undefined): AttemptReason {
  if (error instanceof Throttled) return `throttled_by_${error.scope}`;
  if (
    error instanceof AuthError &&
    (error.code === "overloaded" || error.code === "store_unavailable")
  )
    return error.code;
  return signal?.aborted ? "aborted" : "internal";
}

const safeUsernameCodePointsMax = 64;

/** A username as it may be logged: no more than 64 code points, none of them invisible. */
export function safeUsername(username: string): string {
  const points = Array.from(username.slice(0, 2 * safeUsernameCodePointsMax + 1));
  const text = points.slice(0, safeUsernameCodePointsMax).join("");
  const isCut = text.length < username.length;
  return text.toWellFormed().replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "\ufffd") + (isCut ? "…" : "");
}
