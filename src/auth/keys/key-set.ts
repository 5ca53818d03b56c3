/**
 * The keys as requests use them, and the port to the store that keeps the managed ones. Depends on
 * node:crypto.
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
  /** Came as a file, so perhaps from an old server, whose tokens may lack claims that ours have. */
  readonly legacy: boolean;
  /** If set, tokens by this key must have this `iss` instead of ours. */
  readonly issuer?: string;
}

/** The keys as requests use them: from memory, unless what is there is too old. */
export interface KeySet {
  /**
   * The key to sign with. Use it at once: it may be retired a second later.
   *
   * @throws AuthError `store_unavailable` while it is not known which key signs; `internal` if the
   *   key of `SIGNING_KEY_FILE` is revoked.
   */
  signingKey(): Promise<SigningKey>;
  /**
   * The keys that may have signed a token: those with that `kid`; without one, every legacy key.
   *
   * @throws AuthError `store_unavailable` if there is none and the keys could not be loaded.
   */
  verificationKeys(kid: string | undefined): Promise<readonly VerificationKey[]>;
  /**
   * The public key set (RFC 7517). While the store is down, the last one known; undefined before.
   */
  published(): Promise<PublishedKeySet | undefined>;
}

export interface PublishedKeySet {
  /** The JSON of the key set. */
  readonly body: string;
  /** A strong validator of `body`, quoted (RFC 9110 section 8.8.3). */
  readonly etag: string;
  /** How long a verifier may cache it (`max-age`). */
  readonly maxAgeSeconds: number;
  /** How long after that a verifier may use it while we do not answer (RFC 5861 section 4). */
  readonly staleIfErrorSeconds: number;
}

/**
 * The store of the managed keys: one small JSON document, read whole and written whole by
 * compare-and-set, so that every change of state is decided once for all replicas.
 */
export interface KeyStore {
  /**
   * The stored document, and the version to pass to `save`; 0 and undefined if nothing is stored.
   */
  load(): Promise<{ readonly version: number; readonly document: string | undefined }>;
  /**
   * Writes the document as version `expectedVersion + 1` if `expectedVersion` is what is stored;
   * otherwise writes nothing and returns false. A call that throws `store_unavailable` may have
   * written; a store that can find out does so first.
   */
  save(document: string, expectedVersion: number): Promise<boolean>;
}
