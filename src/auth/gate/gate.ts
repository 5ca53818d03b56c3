/**
 * The gate in front of every password check: throttle, bounded hashing, outcome. Nothing else
 * checks a password. Other folders import only this file. Depends on the rest of auth.
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

/** The surfaces that a password may come by. */
export type Surface = "rpc_login" | "rpc_issue_token" | "rest_login" | "rest_token";

/** Who asks for a password to be checked, and by which surface. */
export interface Attempt {
  readonly surface: Surface;
  /** An IPv4 address, or an IPv6 /64. */
  readonly clientNetwork: string;
  /** Aborts when the caller is gone; its reason is then thrown. */
  readonly signal: AbortSignal | undefined;
  readonly requestId: string;
  /** Copied to the event. */
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

/** One attempt after its end. Holds no secret. */
export interface AttemptEvent {
  readonly surface: Surface;
  readonly reason: AttemptReason;
  /** Bounded and without control characters: see {@link safeUsername}. */
  readonly username: string;
  readonly clientNetwork: string;
  readonly requestId: string;
  /** Milliseconds from the attempt to the start of its hash; undefined if none was computed. */
  readonly waitedMs: number | undefined;
  readonly labels?: object;
}

/** Checks a password against a stored hash; without one it computes the decoy. */
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
  /** Milliseconds; never goes back. */
  readonly now: () => number;
  /** Rejects when the signal aborts. Default: Node's timers. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
  /** The most that one attempt waits for the store, over all its calls. Default 4500 ms. */
  readonly storeMs?: number;
  /** Wraps each check of a password, to observe it. */
  readonly observeVerify?: ((verify: Verify) => Verify) | undefined;
}

/**
 * Some refusals are lifted by trust in the network. They are answered this long after the attempt's
 * turn to hash, or a multiple of it. A wrong password that trust let be hashed is answered at the
 * same times, so that the time does not tell whether a hash was computed.
 */
const refusalMs = 1000;

/** The result of an attempt whose password was checked. */
interface Checked {
  readonly user: User | undefined;
  readonly matches: boolean;
  /** The user who may log in, if any. */
  readonly accepted: User | undefined;
  /** Answers a wrong password instead of `invalid_credentials`. */
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
   * Returns the user with this name and password.
   *
   * @throws AuthError `invalid_credentials`, `rate_limited`, `overloaded`, `store_unavailable`.
   * @throws the reason of the attempt's signal if that aborts before the hash has begun.
   */
  async check(credentials: PasswordCredentials, attempt: Attempt): Promise<User> {
    const { queue, rehasher, now } = this.#deps;
    const startMs = now();
    let turnMs: number | undefined;
    let isTold = false;
    const tell = (reason: AttemptReason) => {
      if (isTold) return;
      isTold = true;
      this.#tell(credentials, attempt, reason, turnMs === undefined ? undefined : turnMs - startMs);
    };
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
      tell(reasonOfError(error, attempt.signal));
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

  /** Counts a wrong password whose attempt is answered already. Never rejects. */
  async #countLate(username: string, network: string, id: Promise<UserId | undefined>) {
    const { signal } = new AbortController();
    try {
      const permit = await this.#deps.throttle.admit(username, network, id, signal);
      await permit.settle("wrong");
    } catch {
      // Past a limit already, or the store is down. What was admitted is counted later.
    }
  }

  /** Waits until the refusal of an attempt whose turn came at `turnMs` may be answered. */
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

/** Whether trust in a network lifts this refusal. */
const isLifted = (error: unknown) => error instanceof Throttled && error.isLifted;

function reasonOf({ user, matches, accepted }: Checked): AttemptReason {
  if (accepted) return "accepted";
  if (user === undefined) return "unknown_user";
  if (!matches) {
    const isUsable =
      user.passwordHash !== undefined && inspectHash(user.passwordHash).verdict === "ok";
    return isUsable ? "wrong_password" : "no_usable_hash";
  }
  // A second opinion refused an enabled user.
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

/** A username as it may be logged: at most 64 code points, and U+FFFD for invisible ones. */
export function safeUsername(username: string): string {
  const points = Array.from(username.slice(0, 2 * safeUsernameCodePointsMax + 1));
  const text = points.slice(0, safeUsernameCodePointsMax).join("");
  const isCut = text.length < username.length;
  return text.toWellFormed().replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "\ufffd") + (isCut ? "…" : "");
}
