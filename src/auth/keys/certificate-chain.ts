/**
 * Finds the one certificate of a file whose key may have signed tokens. The authority that issued
 * this certificate must not become an issuer of tokens with it. Depends on its neighbour and
 * node:crypto.
 */
import type { X509Certificate } from "node:crypto";
import { fail } from "./key-file-error.js";

/**
 * The leaf of the chain that these certificates form, in any order.
 *
 * @throws KeyFileError if they are not one chain.
 */
export function leafOf(certificates: readonly X509Certificate[]): X509Certificate {
  const leaf = certificates.find(
    (certificate) => !certificates.some((other) => hasIssued(certificate, other)),
  );
  // One key may have several certificates: one was renewed, or two authorities signed the key.
  const chain = new Set(
    certificates.filter((certificate) => leaf && hasSameKey(certificate, leaf)),
  );
  // Iterating a set visits members that are added meanwhile, so this walks up to the root.
  for (const member of chain) {
    for (const certificate of certificates) {
      if (hasIssued(certificate, member)) chain.add(certificate);
    }
  }
  if (leaf && chain.size === certificates.length) return leaf;
  fail(
    `the ${certificates.length} certificates are not one chain, so it cannot be told which key ` +
      "signed tokens; keep one certificate, or give public keys, each made by: " +
      "openssl x509 -in FILE -pubkey -noout",
  );
}

function hasIssued(issuer: X509Certificate, certificate: X509Certificate): boolean {
  return (
    !hasSameKey(issuer, certificate) &&
    certificate.checkIssued(issuer) &&
    certificate.verify(issuer.publicKey)
  );
}

const hasSameKey = (a: X509Certificate, b: X509Certificate) => a.publicKey.equals(b.publicKey);
