/**
 * Which issuers discovery can start from. Depends on nothing.
 */

/**
 * The path of an issuer that is a URL as OpenID Connect Discovery 1.0 (section 3) and RFC 8414 (section 2)
 * want one, without a slash at its end; undefined for any other issuer.
 */
export function issuerPathOf(issuer: string): string | undefined {
  if (!/^https?:\/\/[^?#\s]+$/.test(issuer) || !URL.canParse(issuer)) return undefined;
  return new URL(issuer).pathname.replace(/\/+$/, "");
}

/** Why an issuer that was probably meant as a URL gets no discovery; undefined for any other. */
export function issuerWarning(issuer: string): string | undefined {
  const isMeantAsUrl = /^\s*https?:/i.test(issuer) || issuer.trim() !== issuer;
  if (!isMeantAsUrl || issuerPathOf(issuer) !== undefined) return undefined;
  return `TOKEN_ISSUER ${JSON.stringify(issuer)} gets no discovery documents: that takes https:// or http:// in lower case and a host, without query, fragment or blanks; tokens have it as it is`;
}
