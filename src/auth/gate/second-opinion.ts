/**
 * A second check of the password by another server, which the gate asks before it answers. Depends
 * on auth's types.
 */
import type { PasswordCredentials } from "../credentials.js";
import type { User } from "../users.js";

/** The result of our own check of a password. */
export interface OwnVerdict {
  /** The user with that name, if our store has one. */
  readonly user: User | undefined;
  /** Whether the password matches the user's hash. */
  readonly matches: boolean;
  /** The client's network: an IPv4 address, or an IPv6 /64. */
  readonly network: string;
  /** The surface that the password came by. */
  readonly surface: string;
  /**
   * Whether the other server may be asked about a login that our own check refuses. False if only
   * trust in the network let the attempt pass.
   */
  readonly mayAsk: boolean;
  /** Milliseconds since the attempt began. */
  readonly elapsedMs: number;
  /**
   * Called if the credentials turn out to be wrong after `decide` has thrown; counts that failure
   * too.
   */
  readonly countLate: () => void;
}

export interface SecondOpinion {
  /**
   * Returns the user whose credentials these are, or undefined to refuse them. The gate calls it
   * after the throttle, for right and wrong passwords alike. It is never aborted: a guess that the
   * other server has answered must be counted.
   *
   * @throws AuthError `store_unavailable` if neither server can tell.
   */
  decide(
    credentials: PasswordCredentials,
    own: OwnVerdict,
  ): User | undefined | Promise<User | undefined>;
}

/** The user who may log in by our own check alone. */
export function acceptedAlone({ user, matches }: OwnVerdict): User | undefined {
  return matches && user?.disabled === false ? user : undefined;
}

export const ownOpinion: SecondOpinion = { decide: (_, own) => acceptedAlone(own) };
