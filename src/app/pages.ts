/**
 * The routes of the API page and its documents. The first request loads them. Depends on config,
 * gateway, pages and the server's types.
 */
import type { Config } from "../config/config.js";
import { version } from "../config/version.js";
import { documentRoute, type Document } from "../gateway/documents.js";
import type { DemoUser } from "../pages/api-page.js";
import type { Route } from "../server/route.js";

export type { DemoUser };

const paths = [
  ...["/", "/openapi.json", "/openapi.yaml"],
  ...["api.css", "icon.svg", "api-page.js", "calls.js", "token.js"].map((name) => `/page/${name}`),
];

export interface PageOptions {
  readonly config: Config;
  /** The paths of the documents under `/.well-known/`. */
  readonly documents: readonly string[];
  readonly demoUser: DemoUser | undefined;
}

export function createPageRoutes({ config, documents, demoUser }: PageOptions): Route[] {
  let loading: Promise<Readonly<Record<string, Document>>> | undefined;
  const load = () =>
    (loading ??= import("../pages/api-pages.js").then(({ createApiPages }) =>
      createApiPages({
        ...{ version, documents, demoUser },
        issuer: config.TOKEN_ISSUER,
        tokenTtlSeconds: config.TOKEN_TTL,
        timeZone: config.LEGACY_TIME_ZONE,
      }),
    ));
  return paths.map((path) => documentRoute(path, async () => (await load())[path] as Document));
}
