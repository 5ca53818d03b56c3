/** What the gate asks before it answers, where another server knows passwords too. Depends on auth's types. */
import type { PasswordCredentials } from "../credentials.js";
import type { User } from "../users.js";

/** What our own check of a password has found. */
export interface OwnVerdict {
  /** Whose name it is, as far as we know. */
  readonly user: User | undefined;
  /** Whether the password fits the user's hash. */
  readonly matches: boolean;
  /** The network of the client. */
  readonly network: string;
  /** The way in which the password came. */
  readonly surface: string;
  /** Whether a wrong password may be asked about: not where only trust in the network let the attempt pass. */
  readonly mayAsk: boolean;
  /** Milliseconds since the attempt began. */
  readonly elapsedMs: number;
  /** To be called where the credentials turn out to be wrong after `decide` has thrown: that counts too. */
  readonly countLate: () => void;
}

export interface SecondOpinion {
  /**
   * Whose the credentials are; undefined where they are refused. Asked after the throttle, for right and wrong
   * passwords alike, and never aborted: what was asked must be counted.
   *
   * @throws AuthError `store_unavailable` where nobody can tell.
   */
  decide(
    credentials: PasswordCredentials,
    own: OwnVerdict,
  ): User | undefined | Promise<User | undefined>;
}

/** Who may log in as far as we know. */
export function acceptedAlone({ user, matches }: OwnVerdict): User | undefined {
  return matches && user?.disabled === false ? user : undefined;
}

export const ownOpinion: SecondOpinion = { decide: (_, own) => acceptedAlone(own) };
