/**
 * The one gate in front of every password check: throttle, bounded hashing, outcome. Nothing else
 * checks a password. Depends on the rest of auth.
 */
import type { PasswordCredentials } from "../credentials.js";
import { AuthError } from "../errors.js";
import type { HashPlace, HashQueue } from "./hash-queue.js";
import { inspectHash, verifyPassword, type Decoy } from "../passwords/passwords.js";
import type { Rehasher } from "../passwords/rehash.js";
import { Throttled, type Permit, type Throttle, type ThrottleScope } from "../throttle/throttle.js";
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
}

export function createGate(deps: GateDependencies): Gate {
  const { users, decoy, queue, rehasher, throttle, onAttempt } = deps;

  async function verify(
    { username, password }: PasswordCredentials,
    network: string,
    place: HashPlace,
    onBegin: () => void,
  ): Promise<{ user: User | undefined; matches: boolean }> {
    const [permit, user] = await both(
      throttle.admit(username, network, place.signal),
      users.findByUsername(username),
    );
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
    await permit.settle(isAccepted ? "right" : "wrong", user?.username);
    return { user, matches };
  }

  return {
    async check(credentials, attempt) {
      const { surface, clientNetwork, requestId, signal } = attempt;
      const startMs = performance.now();
      let waitedMs: number | undefined;
      const tell = (reason: AttemptReason) => {
        const username = safeUsername(credentials.username);
        const { traceIds } = attempt;
        onAttempt({
          surface,
          reason,
          username,
          clientNetwork,
          requestId,
          waitedMs,
          ...traceIds,
        });
      };
      let place: HashPlace | undefined;
      try {
        place = queue.enter(clientNetwork, signal);
        const { user, matches } = await verify(credentials, clientNetwork, place, () => {
          waitedMs = performance.now() - startMs;
        });
        const reason = reasonOf(user, matches);
        tell(reason);
        if (reason === "accepted" && user) {
          rehasher.loggedIn(user, credentials.password);
          return user;
        }
      } catch (error) {
        tell(reasonOfError(error, signal));
        throw error;
      } finally {
        place?.leave();
      }
      throw new AuthError("invalid_credentials", "credentials refused");
    },
  };
}

/** Both, or after both are done the error of one; a permit that is of no use then is given back. */
async function both<T>(admission: Promise<Permit>, other: Promise<T>): Promise<[Permit, T]> {
  const [permit, result] = await Promise.allSettled([admission, other]);
  if (permit.status === "rejected") throw permit.reason;
  if (result.status === "fulfilled") return [permit.value, result.value];
  await permit.value.settle("unchecked");
  throw result.reason;
}

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
