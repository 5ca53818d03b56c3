/** The route of the list of revocations. Depends on auth, config, gateway, revocations and the store's port. */
import type { SigningKey } from "../auth/keys/keys.js";
import type { Config } from "../config/config.js";
import { documentRoute } from "../gateway/documents.js";
import type { RevocationList } from "../revocations/list.js";
import type { Route } from "../server/route.js";
import type { Store } from "../store/store.js";

const path = "/.well-known/revocations";

export interface RevocationsDependencies {
  readonly config: Config;
  readonly store: Pick<Store, "revocations" | "secret">;
  readonly keys: {
    signingKey(): Promise<SigningKey>;
    revokedKeyIds(): readonly string[];
  };
  readonly clock: { now(): number };
}

export function createRevocationsRoute(deps: RevocationsDependencies): Route {
  const { config, store, keys, clock } = deps;
  let loading: Promise<RevocationList> | undefined;
  const load = () =>
    (loading ??= import("../revocations/list.js").then(
      ({ RevocationList }) =>
        new RevocationList({
          store: store.revocations,
          secret: () => store.secret(),
          signingKey: () => keys.signingKey(),
          revokedKeyIds: () => keys.revokedKeyIds(),
          issuer: config.TOKEN_ISSUER,
          now: () => clock.now(),
        }),
    ));
  return documentRoute(path, async () => {
    const { body, etag } = await (await load()).published();
    return { body, etag, type: "application/jwt", caching: "max-age=5" };
  });
}
