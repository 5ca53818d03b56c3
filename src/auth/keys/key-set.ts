/**
 * The keys as the request path sees them, and the port to the store that keeps the managed ones.
 * Depends on node:crypto.
 */
import type { KeyObject } from "node:crypto";

/** A private key to sign with. `kid` is the RFC 7638 thumbprint of its public part. */
export interface SigningKey {
  readonly kid: string;
  readonly privateKey: KeyObject;
}

/** A public key that tokens are verified with. */
export interface VerificationKey {
  readonly kid: string;
  readonly publicKey: KeyObject;
  /** Brought as a file, so perhaps an old server's: its tokens may lack what ours have. */
  readonly legacy: boolean;
  /** Where set, the `iss` that a token by this key must have, instead of ours. */
  readonly issuer?: string;
}

/** The keys as the request path sees them: from memory, unless what is there is too old to answer. */
export interface KeySet {
  /**
   * The key to sign with, to be used at once: it may be retired a second later.
   *
   * @throws AuthError `store_unavailable` while it cannot be told which key signs.
   */
  signingKey(): Promise<SigningKey>;
  /** The keys that may have signed a token: those of that `kid`, or without one every legacy key. */
  verificationKeys(kid: string | undefined): Promise<readonly VerificationKey[]>;
  /** The public key set (RFC 7517), the last known one while the store is down; undefined before. */
  published(): Promise<PublishedKeySet | undefined>;
}

export interface PublishedKeySet {
  /** The JSON of the key set. */
  readonly body: string;
  /** A strong validator of `body`, quoted (RFC 9110 section 8.8.3). */
  readonly etag: string;
  /** How long a verifier may cache it (`max-age`). */
  readonly maxAgeSeconds: number;
  /** For how long after that it may be used while we do not answer (RFC 5861 section 4). */
  readonly staleIfErrorSeconds: number;
}

/**
 * Where the managed keys are kept: one small JSON document, read whole and written whole by
 * compare-and-set, so that every change of state is decided once for all replicas.
 */
export interface KeyStore {
  /** What is stored and the version to hand to `save`; version 0 and undefined where nothing is. */
  load(): Promise<{ readonly version: number; readonly document: string | undefined }>;
  /**
   * Writes the document as version `expectedVersion + 1`, only if `expectedVersion` is what is
   * stored. False, and nothing written, if not. A call that throws `store_unavailable` may have
   * written; a store that can find out whether it has does so first.
   */
  save(document: string, expectedVersion: number): Promise<boolean>;
}
