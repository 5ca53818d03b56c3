/** Checks the stored signing keys without changing them. Depends on its neighbours. */
import { signingKeyOf, type Ring } from "./ring.js";
import { createKeySealer, KeyEncryptionError, unsealedWarning } from "./sealing.js";

export interface KeyVerdict {
  readonly level: "ok" | "warning" | "error";
  readonly message: string;
  readonly remedy?: string;
}

const dayMs = 86_400_000;

/** @param document the stored key ring; undefined if there is none. */
export function inspectKeys(
  document: string | undefined,
  encryptionKeys: readonly Uint8Array[],
  nowMs: number,
): KeyVerdict {
  const key = document === undefined ? undefined : signingKeyOf(JSON.parse(document) as Ring);
  if (key === undefined) {
    return encryptionKeys.length > 0
      ? { level: "ok", message: "no signing key yet: the first start makes one" }
      : {
          level: "warning",
          message: "no signing key yet: the first start makes one and stores it in the clear",
          remedy: "set KEY_ENCRYPTION_KEY before",
        };
  }
  try {
    const { current } = createKeySealer(encryptionKeys).open(key.kid, key.privateKey);
    if (encryptionKeys.length === 0) {
      return { level: "warning", message: unsealedWarning, remedy: "set KEY_ENCRYPTION_KEY" };
    }
    const days = Math.floor((nowMs - key.since) / dayMs);
    const seal = current ? "" : ", and will be encrypted anew at the next start";
    return { level: "ok", message: `the signing key ${key.kid} signs for ${days} days${seal}` };
  } catch (error) {
    if (!(error instanceof KeyEncryptionError)) throw error;
    const remedy = "set KEY_ENCRYPTION_KEY to the key that they were encrypted with";
    return { level: "error", message: error.message, remedy };
  }
}
