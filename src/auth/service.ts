/**
 * The two use cases, Login and IssueToken, which every surface calls. Depends on the rest of auth.
 */
import { parseAuthorization, parsePasswordCredentials } from "./credentials.js";
import { AuthError } from "./errors.js";
import type { Attempt, Gate } from "./gate/gate.js";
import type { IssuedToken, Tokens } from "./tokens.js";
import type { Account, UserStore } from "./users.js";

export interface AuthService {
  /**
   * Exchanges a username and password for a token.
   *
   * @throws AuthError `invalid_argument`, `invalid_credentials`, `rate_limited`, `overloaded`,
   *   `store_unavailable`.
   * @throws the reason of the attempt's signal.
   */
  login(username: unknown, password: unknown, attempt: Attempt): Promise<IssuedToken>;
  /**
   * Exchanges the content of an `Authorization` header for a token: Basic works as `login` does,
   * Bearer renews.
   *
   * @throws AuthError `invalid_credentials`, `token_invalid`, `token_expired`, `rate_limited`,
   *   `overloaded`, `store_unavailable`.
   * @throws the reason of the attempt's signal.
   */
  issueToken(authorization: string | undefined, attempt: Attempt): Promise<IssuedToken>;
}

export function createAuthService(deps: {
  readonly users: Pick<UserStore, "findBySubject">;
  readonly gate: Pick<Gate, "check">;
  readonly tokens: Tokens;
}): AuthService {
  const { users, gate, tokens } = deps;

  async function renew(token: string): Promise<IssuedToken> {
    const { subject, issuedAtSeconds, authTimeSeconds } = await tokens.verify(token);
    const user = await users.findBySubject(subject);
    if (user === undefined || user.disabled || isRevoked(user, issuedAtSeconds)) {
      throw new AuthError("token_invalid", "token refused: user");
    }
    return tokens.issue(user, authTimeSeconds);
  }

  return {
    async login(username, password, attempt) {
      const user = await gate.check(parsePasswordCredentials(username, password), attempt);
      return tokens.issue(user);
    },
    async issueToken(authorization, attempt) {
      const credentials = parseAuthorization(authorization);
      return credentials.scheme === "bearer"
        ? renew(credentials.token)
        : tokens.issue(await gate.check(credentials, attempt));
    },
  };
}

/** `iat` has whole seconds, so a token of the same second as the revocation is refused too. */
function isRevoked({ tokensValidAfter }: Account, issuedAtSeconds: number): boolean {
  return tokensValidAfter !== undefined && issuedAtSeconds * 1000 <= tokensValidAfter.getTime();
}
