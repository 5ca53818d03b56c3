/**
 * The documents for verifiers of tokens: the key set (RFC 7517) and, if the issuer is a URL, the
 * metadata that lead to it (OpenID Connect Discovery 1.0, RFC 8414). Served from memory.
 */
import { createHash } from "node:crypto";
import { AuthError } from "../auth/errors.js";
import { issuerPathOf } from "../auth/issuer.js";
import type { KeySet } from "../auth/keys/keys.js";
import type { Answer } from "../server/exchange.js";
import type { Route } from "../server/route.js";
import { json, reasonPhrases, statusOf } from "./answers.js";

const keySetPath = "/.well-known/jwks.json";
const openidPath = "/.well-known/openid-configuration";
const oauthPath = "/.well-known/oauth-authorization-server";

export function createDocumentRoutes(keys: KeySet, issuer: string): Route[] {
  const readKeySet = async () => {
    const published = await keys.published();
    if (published === undefined) {
      throw new AuthError("store_unavailable", "no keys loaded yet", { retryAfterSeconds: 1 });
    }
    const { body, etag, maxAgeSeconds, staleIfErrorSeconds } = published;
    const caching = `max-age=${maxAgeSeconds}, stale-if-error=${staleIfErrorSeconds}`;
    return { body, etag, type: "application/jwk-set+json", caching };
  };
  const issuerPath = issuerPathOf(issuer);
  if (issuerPath === undefined) return [documentRoute(keySetPath, readKeySet)];

  const body = JSON.stringify({
    issuer,
    jwks_uri: issuer.replace(/\/+$/, "") + keySetPath,
    // Both specifications demand a list, and strict readers a list that is not empty. No endpoint
    // would answer; "none" is the registered type for a response without a token.
    response_types_supported: ["none"],
    subject_types_supported: ["public"],
    id_token_signing_alg_values_supported: ["RS256"],
  });
  const etag = `"${createHash("sha256").update(body).digest("base64url")}"`;
  const metadata = () => ({ body, etag, type: "application/json", caching: "max-age=3600" });
  // OpenID Connect appends its path to the issuer's; RFC 8414 section 3 puts its own before it. The
  // paths without the issuer's path are served too, because a proxy may strip it.
  const keySetPaths = new Set([keySetPath, issuerPath + keySetPath]);
  const metadataPaths = [openidPath, issuerPath + openidPath, oauthPath, oauthPath + issuerPath];
  return [
    ...Array.from(keySetPaths, (path) => documentRoute(path, readKeySet)),
    ...Array.from(new Set(metadataPaths), (path) => documentRoute(path, metadata)),
  ];
}

/** A published document. */
export interface Document {
  readonly body: string;
  readonly etag: string;
  readonly type: string;
  /** `Cache-Control` directives besides `public`. */
  readonly caching: string;
  readonly headers?: Answer["headers"];
}

export function documentRoute(path: string, read: () => Document | Promise<Document>): Route {
  const refusal = (status: number, headers?: Answer["headers"]) =>
    json(status, { error: reasonPhrases[status] }, headers);
  return {
    path,
    methods: ["GET", "HEAD"],
    isPublic: true,
    async handle(request) {
      const { body, etag, type, caching, headers: more } = await read();
      const headers = { "cache-control": `public, ${caching}`, etag, ...more };
      return matches(request.headers["if-none-match"], etag)
        ? { status: 304, headers }
        : { status: 200, headers: { "content-type": type, ...headers }, body };
    },
    fail(error) {
      const { status, headers } = statusOf(error, "login");
      return refusal(status, headers);
    },
    refuse: (status) => refusal(status),
  };
}

/** Evaluates `If-None-Match` (RFC 9110 section 13.1.2): `*`, or a list that contains the tag. */
function matches(condition: string | undefined, etag: string): boolean {
  return (
    condition !== undefined &&
    condition.split(",").some((tag) => ["*", etag].includes(tag.trim().replace(/^W\//, "")))
  );
}
