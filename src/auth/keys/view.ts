/**
 * The key ring and the keys of files together, as verifiers and operators see them. Depends on the
 * ring and node:crypto.
 */
import { createHash, createPublicKey, type KeyObject } from "node:crypto";
import type { TrustedRsaKey } from "./files.js";
import {
  isPublished,
  isRevoked,
  nextStepOf,
  type Ring,
  type RingKey,
  type RingKeyState,
  type RotationPolicy,
} from "./ring.js";
import type { PublishedKeySet, VerificationKey } from "./key-set.js";
import type { RsaKey } from "./rsa.js";

/** The keys from files; revoked ones count as absent. */
export interface FileKeys {
  /** The key that signs instead of the managed ones. */
  readonly signing: RsaKey | undefined;
  readonly trusted: readonly TrustedRsaKey[];
}

export interface KeyListing {
  readonly kid: string;
  readonly state: RingKeyState | "revoked";
  /** Undefined for a revoked key. */
  readonly source: "managed" | "imported" | "file" | undefined;
  readonly bits: number | undefined;
  /** When the key entered its state; undefined for a key of a file. */
  readonly since: Date | undefined;
  /** What happens next to the key without a command. */
  readonly next: { readonly step: string; readonly at: Date } | undefined;
  readonly issuer: string | undefined;
}

/** Every key that a token may be verified with. */
export function verificationKeysOf(ring: Ring | undefined, files: FileKeys): VerificationKey[] {
  return [
    ...accepted(ring, files.signing).map(fileVerificationKeyOf),
    ...(ring?.keys ?? []).map(ringVerificationKeyOf),
    ...accepted(ring, ...files.trusted).map(fileVerificationKeyOf),
  ];
}

/** The JWKS (RFC 7517): the signing key, the next one, then the retired ones, the latest first. */
export function publishedDocumentOf(
  ring: Ring | undefined,
  files: FileKeys,
): Pick<PublishedKeySet, "body" | "etag"> {
  const rank = { signing: 0, published: 1, retired: 2, trusted: 3 };
  const fileKeys = accepted(ring, files.signing);
  const ringKeys = (ring?.keys ?? [])
    .filter((key) => isPublished(key) && key.kid !== files.signing?.kid)
    .sort((a, b) => rank[a.state] - rank[b.state] || b.since - a.since);
  const keys = [...fileKeys, ...ringKeys].map(({ kid, n, e }) => ({
    ...{ kty: "RSA", use: "sig", alg: "RS256", kid, n, e },
  }));
  const body = JSON.stringify({ keys });
  return { body, etag: `"${createHash("sha256").update(body).digest("base64url")}"` };
}

/** Every key, also revoked ones. */
export function listingOf(ring: Ring, files: FileKeys, policy: RotationPolicy): KeyListing[] {
  const none = { bits: undefined, since: undefined, next: undefined, issuer: undefined };
  const fileListing = (state: RingKeyState) => (key: TrustedRsaKey) => ({
    ...none,
    ...{ kid: key.kid, state, source: "file" as const },
    ...{ bits: bitsOf(key), issuer: key.issuer },
  });
  return [
    ...accepted(ring, files.signing).map(fileListing("signing")),
    ...ring.keys.map((key) => ringListingOf(ring, key, policy)),
    ...accepted(ring, ...files.trusted).map(fileListing("trusted")),
    ...ring.revoked.map(({ kid, at }) => ({
      ...none,
      ...{ kid, state: "revoked" as const, source: undefined, since: new Date(at) },
    })),
  ];
}

function ringListingOf(ring: Ring, key: RingKey, policy: RotationPolicy): KeyListing {
  const next = nextStepOf(ring, key, policy);
  return {
    ...{ kid: key.kid, state: key.state, source: key.imported ? "imported" : "managed" },
    ...{ bits: bitsOf(ringVerificationKeyOf(key)), since: new Date(key.since) },
    next: next && { step: next.step, at: new Date(next.at) },
    issuer: key.state === "trusted" ? key.issuer : undefined,
  };
}

const accepted = <T extends RsaKey>(ring: Ring | undefined, ...keys: (T | undefined)[]): T[] =>
  keys.filter((key) => key !== undefined && !isRevoked(ring, key)) as T[];

const bitsOf = ({ publicKey }: { publicKey: KeyObject }) =>
  publicKey.asymmetricKeyDetails?.modulusLength;

function fileVerificationKeyOf({ kid, publicKey, issuer }: TrustedRsaKey): VerificationKey {
  return { kid, publicKey, legacy: true, ...(issuer !== undefined && { issuer }) };
}

function ringVerificationKeyOf(key: RingKey): VerificationKey {
  const { kid, n, e, imported = false } = key;
  const publicKey = createPublicKey({ key: { kty: "RSA", n, e }, format: "jwk" });
  const limit = key.state === "trusted" && key.issuer !== undefined && { issuer: key.issuer };
  return { kid, publicKey, legacy: imported, ...limit };
}
