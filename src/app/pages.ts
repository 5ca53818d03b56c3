/** The routes of the pages for people, which are loaded by their first request. Depends on config, gateway, pages and the server's types. */
import type { Config } from "../config/config.js";
import { version } from "../config/version.js";
import { documentRoute, type Document } from "../gateway/documents.js";
import type { Route } from "../server/route.js";

const paths = ["/openapi.json", "/openapi.yaml"];

/** @param documents paths of what is published under `/.well-known/`. */
export function createPageRoutes(config: Config, documents: readonly string[]): Route[] {
  let loading: Promise<Readonly<Record<string, Document>>> | undefined;
  const load = () =>
    (loading ??= import("../pages/api-pages.js").then(({ createApiPages }) =>
      createApiPages({
        version,
        documents,
        issuer: config.TOKEN_ISSUER,
        tokenTtlSeconds: config.TOKEN_TTL,
        timeZone: config.LEGACY_TIME_ZONE,
      }),
    ));
  return paths.map((path) => documentRoute(path, async () => (await load())[path] as Document));
}
