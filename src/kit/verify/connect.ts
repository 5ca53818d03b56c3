/**
 * Demands a token of the rpcs of a Connect server. Depends on Connect and the verifier. With
 * Connect 2.1 an interceptor runs once a unary request has been read; from 2.2 on a `requestGate`, which
 * needs Node.js 22, can refuse before that.
 */
import { Code, ConnectError, createContextKey, type Interceptor } from "@connectrpc/connect";
import { bearerTokenOf, hasRole } from "./middleware.js";
import type { TokenRefused } from "./refusal.js";
import type { Claims } from "./claims.js";
import type { Verifier } from "./verify.js";

/** The context value that holds the claims: `context.values.get(claimsKey)` in a handler. */
export const claimsKey = createContextKey<Claims | undefined>(undefined, {
  description: "claims of the access token",
});

export interface ConnectOptions {
  /** Roles of which the user must have one; without them any user may pass. */
  readonly roles?: readonly string[];
  /** Told of each refusal; the client learns no more than the code says. */
  readonly onRefused?: (refusal: TokenRefused) => void;
}

/** Answers `unauthenticated`, `permission_denied` where a role is missing, `unavailable` in an outage. */
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
