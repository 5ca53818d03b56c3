/**
 * The façade of the keys that sign and verify tokens: other folders import only this file. Depends
 * on its neighbours.
 */
export type { KeyChange, KeyEvent } from "./events.js";
export {
  keyFileWarning,
  loadAnyKeys,
  loadSigningKey,
  loadTrustedKeys,
  type TrustedRsaKey,
} from "./files.js";
export { inspectKeys } from "./inspection.js";
export { KeyFileError } from "./key-file-error.js";
export type { KeySet, KeyStore, PublishedKeySet, SigningKey, VerificationKey } from "./key-set.js";
export { ManagedKeys, type KeyImportRequest, type SigningChange } from "./managed-keys.js";
export { freshnessMs, KeyOperationError } from "./ring.js";
export { KeyRingError, type KeyClock } from "./ring-replica.js";
export { generateRsaKey, type RsaPrivateKey } from "./rsa.js";
export { KeyEncryptionError, unsealedWarning } from "./sealing.js";
export type { KeyListing } from "./view.js";
