/**
 * The one gate in front of every password check: throttle, bounded hashing, outcome. Nothing else
 * checks a password. Depends on the rest of auth.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { PasswordCredentials } from "../credentials.js";
import { AuthError } from "../errors.js";
import type { HashPlace, HashQueue } from "./hash-queue.js";
import { inspectHash, verifyPassword, type Decoy } from "../passwords/passwords.js";
import type { Rehasher } from "../passwords/rehash.js";
import { Throttled, type Throttle, type ThrottleScope } from "../throttle/throttle.js";
import { StoreBudget } from "../store-budget.js";
import type { User, UserStore } from "../users.js";

/** The ways in which a password may come. */
export type Surface = "rpc_login" | "rpc_issue_token" | "rest_login" | "rest_token";

/** The trace that a request belongs to, by the names that OpenTelemetry gives its ids in a log. */
export interface TraceIds {
  readonly trace_id: string;
  readonly span_id: string;
}

/** Who asks for a password to be checked, and how. */
export interface Attempt {
  readonly surface: Surface;
  /** An IPv4 address, or an IPv6 /64. */
  readonly clientNetwork: string;
  /** Aborts when nobody waits for the answer any more; its reason is then thrown. */
  readonly signal: AbortSignal | undefined;
  readonly requestId: string;
  readonly traceIds?: TraceIds | undefined;
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
export interface AttemptEvent extends Partial<TraceIds> {
  readonly surface: Surface;
  readonly reason: AttemptReason;
  /** As it was given, but bounded and without control characters: see {@link safeUsername}. */
  readonly username: string;
  readonly clientNetwork: string;
  readonly requestId: string;
  /** Milliseconds from the attempt to the start of its hash; undefined where none was computed. */
  readonly waitedMs: number | undefined;
}

export interface Gate {
  /**
   * The user of that name and password.
   *
   * @throws AuthError `invalid_credentials`, `rate_limited`, `overloaded`, `store_unavailable`.
   * @throws the reason of the attempt's signal where that aborts before the hash has begun.
   */
  check(credentials: PasswordCredentials, attempt: Attempt): Promise<User>;
}

export interface GateDependencies {
  readonly users: Pick<UserStore, "findByUsername">;
  readonly decoy: Decoy;
  readonly queue: HashQueue;
  readonly rehasher: Pick<Rehasher, "loggedIn">;
  readonly throttle: Pick<Throttle, "admit">;
  readonly onAttempt: (event: AttemptEvent) => void;
  /** Milliseconds that only go forward. */
  readonly now: () => number;
  /** All that one attempt may wait for the store, over all its calls. Default 4500 ms. */
  readonly storeMs?: number;
}

/**
 * A refusal that trust in a network may lift is answered so long after the turn to hash, or a multiple
 * of it: a wrong password that was hashed all the same is answered then too.
 */
const refusalMs = 1000;

export function createGate(deps: GateDependencies): Gate {
  const { users, decoy, queue, rehasher, throttle, onAttempt, now, storeMs = 4500 } = deps;

  async function verify(
    { username, password }: PasswordCredentials,
    network: string,
    place: HashPlace,
    onBegin: () => void,
  ): Promise<{ user: User | undefined; matches: boolean; refusal: AuthError | undefined }> {
    const found = users.findByUsername(username);
    const id = found.then((user) => user?.id);
    const budget = new StoreBudget(storeMs, now);
    const permit = await throttle.admit(username, network, id, place.signal, budget);
    const user = await found;
    let matches: boolean;
    try {
      matches = await place.run(
        () => {
          onBegin();
          return verifyPassword(user?.passwordHash, password, decoy.hashFor(username));
        },
        () => user?.passwordHash && inspectHash(user.passwordHash).family,
      );
    } catch (error) {
      await permit.settle("unchecked");
      throw error;
    }
    const isAccepted = matches && user !== undefined && !user.disabled;
    await budget.during(permit.settle(isAccepted ? "right" : "wrong", user?.username));
    return { user, matches, refusal: permit.refusal };
  }

  /** Waits until the refusal of an attempt may be told whose turn came at `turnMs`. */
  async function untilTold(turnMs: number, signal: AbortSignal): Promise<void> {
    const waitMs = refusalMs - ((now() - turnMs) % refusalMs);
    await sleep(waitMs, undefined, { signal }).catch(() => signal.throwIfAborted());
  }

  return {
    async check(credentials, attempt) {
      const { surface, clientNetwork, requestId, signal } = attempt;
      const startMs = now();
      let turnMs: number | undefined;
      const tell = (reason: AttemptReason) => {
        const username = safeUsername(credentials.username);
        const { traceIds } = attempt;
        onAttempt({
          surface,
          reason,
          username,
          clientNetwork,
          requestId,
          waitedMs: turnMs === undefined ? undefined : turnMs - startMs,
          ...traceIds,
        });
      };
      let place: HashPlace | undefined;
      try {
        place = queue.enter(clientNetwork, signal);
        const { user, matches, refusal } = await verify(credentials, clientNetwork, place, () => {
          turnMs = now();
        });
        const reason = reasonOf(user, matches);
        tell(reason);
        if (reason === "accepted" && user) {
          rehasher.loggedIn(user, credentials.password);
          return user;
        }
        if (refusal) {
          await untilTold(turnMs ?? startMs, place.signal);
          throw refusal;
        }
      } catch (error) {
        if (turnMs === undefined || !isLifted(error)) tell(reasonOfError(error, signal));
        if (turnMs === undefined && place && isLifted(error)) {
          const turn = await place.run(() => Promise.resolve(now()));
          await untilTold(turn, place.signal);
        }
        throw error;
      } finally {
        place?.leave();
      }
      throw new AuthError("invalid_credentials", "credentials refused");
    },
  };
}

/** Whether trust in a network lifts such a refusal. */
const isLifted = (error: unknown) =>
  error instanceof Throttled && error.scope !== "username_and_network";

function reasonOf(user: User | undefined, matches: boolean): AttemptReason {
  if (user === undefined) return "unknown_user";
  if (!matches) {
    const isUsable =
      user.passwordHash !== undefined && inspectHash(user.passwordHash).verdict === "ok";
    return isUsable ? "wrong_password" : "no_usable_hash";
  }
  return user.disabled ? "disabled" : "accepted";
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
