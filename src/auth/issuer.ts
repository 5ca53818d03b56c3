/**
 * Decides which issuers get discovery documents. Depends on nothing.
 */

/**
 * The path of the issuer's URL, without a trailing slash. Undefined unless the issuer is a URL as
 * OpenID Connect Discovery 1.0 (section 3) and RFC 8414 (section 2) require.
 */
export function issuerPathOf(issuer: string): string | undefined {
  if (!/^https?:\/\/[^?#\s]+$/.test(issuer) || !URL.canParse(issuer)) return undefined;
  return new URL(issuer).pathname.replace(/\/+$/, "");
}

/** A warning if the issuer was probably meant as a URL but gets no discovery documents. */
export function issuerWarning(issuer: string): string | undefined {
  const isMeantAsUrl = /^\s*https?:/i.test(issuer) || issuer.trim() !== issuer;
  if (!isMeantAsUrl || issuerPathOf(issuer) !== undefined) return undefined;
  return `TOKEN_ISSUER ${JSON.stringify(issuer)} gets no discovery documents: it must start with https:// or http:// in lower case, name a host, and have no query, fragment or blanks; tokens carry it as it is`;
}
