/**
 * The two use cases, Login and IssueToken, that every surface translates. Depends on the rest of auth.
 */
import {
  parseAuthorization,
  parsePasswordCredentials,
  type PasswordCredentials,
} from "./credentials.js";
import { AuthError } from "./errors.js";
import { verifyPassword, type Decoy } from "./passwords.js";
import type { Rehasher } from "./rehash.js";
import type { IssuedToken, Tokens } from "./tokens.js";
import type { User, UserStore } from "./users.js";

export interface AuthService {
  /**
   * Exchanges a username and password for a token.
   *
   * @throws AuthError `invalid_argument`, `invalid_credentials`, `store_unavailable`.
   */
  login(username: unknown, password: unknown): Promise<IssuedToken>;
  /**
   * Exchanges what an `Authorization` header holds for a token: Basic as in `login`, Bearer to renew.
   *
   * @throws AuthError `invalid_credentials`, `token_invalid`, `token_expired`, `store_unavailable`.
   */
  issueToken(authorization: string | undefined): Promise<IssuedToken>;
}

export function createAuthService(deps: {
  readonly users: UserStore;
  readonly decoy: Decoy;
  readonly rehasher: Rehasher;
  readonly tokens: Tokens;
}): AuthService {
  const { users, decoy, rehasher, tokens } = deps;

  async function authenticate({ username, password }: PasswordCredentials): Promise<User> {
    const user = await users.findByUsername(username);
    // An unknown user costs a hash too, and a disabled one is refused only after it: all alike in time.
    const matches = await verifyPassword(user?.passwordHash, password, decoy.hashFor(username));
    if (user === undefined || user.disabled || !matches) {
      throw new AuthError("invalid_credentials", "credentials refused");
    }
    rehasher.loggedIn(user, password);
    return user;
  }

  async function renew(token: string): Promise<IssuedToken> {
    const { subject, issuedAtSeconds, authTimeSeconds } = await tokens.verify(token);
    const user = await users.findBySubject(subject);
    if (user === undefined || user.disabled || isRevoked(user, issuedAtSeconds)) {
      throw new AuthError("token_invalid", "token refused: user");
    }
    return tokens.issue(user, authTimeSeconds);
  }

  return {
    async login(username, password) {
      const user = await authenticate(parsePasswordCredentials(username, password));
      return tokens.issue(user);
    },
    async issueToken(authorization) {
      const credentials = parseAuthorization(authorization);
      return credentials.scheme === "bearer"
        ? renew(credentials.token)
        : tokens.issue(await authenticate(credentials));
    },
  };
}

/** `iat` has whole seconds, so a token of the very second of the revocation is refused too. */
function isRevoked({ tokensValidAfter }: User, issuedAtSeconds: number): boolean {
  return tokensValidAfter !== undefined && issuedAtSeconds * 1000 <= tokensValidAfter.getTime();
}
