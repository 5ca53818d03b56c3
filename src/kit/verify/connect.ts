/**
 * Requires a token for the rpcs of a Connect server. Depends on Connect and the verifier. In Connect 2.1 an
 * interceptor runs after a unary request was read; from 2.2 on a `requestGate`, which needs Node.js 22, could refuse
 * before that.
 */
import { Code, ConnectError, createContextKey, type Interceptor } from "@connectrpc/connect";
import { bearerTokenOf, hasRole } from "./middleware.js";
import type { TokenRefused } from "./refusal.js";
import type { Claims } from "./claims.js";
import type { Verifier } from "./verify.js";

/** The key of the claims among the context values: `context.values.get(claimsKey)` in a handler. */
export const claimsKey = createContextKey<Claims | undefined>(undefined, {
  description: "claims of the access token",
});

export interface ConnectOptions {
  /** Roles of which the user must have one; without this option any user may pass, with an empty list none. */
  readonly roles?: readonly string[];
  /** Called for each refusal; the client sees only the code. Default none. */
  readonly onRefused?: (refusal: TokenRefused) => void;
}

/** Answers `unauthenticated`; `permission_denied` without the role; `unavailable` if the token cannot be checked. */
export function createVerifyInterceptor(
  verifier: Pick<Verifier, "verify">,
  { roles, onRefused }: ConnectOptions = {},
): Interceptor {
  return (next) => async (request) => {
    const token = bearerTokenOf(request.header.get("authorization"));
    if (token === undefined) throw new ConnectError("a token is required", Code.Unauthenticated);
    const claims = await verifier.verify(token).catch((error: unknown) => {
      const refusal = error as TokenRefused;
      onRefused?.(refusal);
      throw refusal.isOutage
        ? new ConnectError("the token cannot be checked", Code.Unavailable)
        : new ConnectError("the token is refused", Code.Unauthenticated);
    });
    if (!hasRole(claims, roles)) {
      throw new ConnectError("the user lacks the role", Code.PermissionDenied);
    }
    request.contextValues.set(claimsKey, claims);
    return next(request);
  };
}
