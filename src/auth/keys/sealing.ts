/**
 * Stores private keys sealed with AES-256-GCM under an operator's key, or in the clear without one.
 * Depends on node:crypto.
 */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";

export interface KeySealer {
  /** The text to store for the private key (PKCS#8 DER) with this `kid`. */
  seal(kid: string, pkcs8: Uint8Array): string;
  /**
   * The private key of a stored text. `current` is false if {@link seal} would now use another key,
   * or would encrypt what was stored in the clear.
   *
   * @throws KeyEncryptionError
   */
  open(kid: string, stored: string): { readonly pkcs8: Buffer; readonly current: boolean };
}

/** The configured encryption key does not fit the stored keys. For operators: exit code 78. */
export class KeyEncryptionError extends Error {
  override readonly name = "KeyEncryptionError";
  constructor(
    readonly code: "missing" | "wrong",
    message: string,
  ) {
    super(message);
  }
}

export const unsealedWarning =
  "KEY_ENCRYPTION_KEY is not set: the private signing keys are stored in the clear, and whoever can read the store or a backup of it can issue tokens";

const algorithm = "aes-256-gcm";
const nonceBytes = 12;
const tagBytes = 16;
const sealedForm = /^aes-256-gcm:([A-Za-z0-9_-]+)$/;
const clearForm = /^pkcs8:([A-Za-z0-9_-]+)$/;

/**
 * @param encryptionKeys 32 bytes each. The first one seals, all of them open; empty to store in the
 *   clear.
 */
export function createKeySealer(encryptionKeys: readonly Uint8Array[]): KeySealer {
  const [primary] = encryptionKeys;
  return {
    seal(kid, pkcs8) {
      if (!primary) return `pkcs8:${Buffer.from(pkcs8).toString("base64url")}`;
      const nonce = randomBytes(nonceBytes);
      const cipher = createCipheriv(algorithm, primary, nonce).setAAD(Buffer.from(kid));
      const sealed = [nonce, cipher.update(pkcs8), cipher.final(), cipher.getAuthTag()];
      return `${algorithm}:${Buffer.concat(sealed).toString("base64url")}`;
    },
    open(kid, stored) {
      const clear = clearForm.exec(stored)?.[1];
      if (clear) return { pkcs8: Buffer.from(clear, "base64url"), current: !primary };
      if (!primary) {
        throw new KeyEncryptionError(
          "missing",
          "the stored signing keys are encrypted and KEY_ENCRYPTION_KEY is not set",
        );
      }
      const sealed = Buffer.from(sealedForm.exec(stored)?.[1] ?? "", "base64url");
      for (const key of encryptionKeys) {
        const pkcs8 = decrypt(key, kid, sealed);
        if (pkcs8) return { pkcs8, current: key === primary };
      }
      throw new KeyEncryptionError(
        "wrong",
        `KEY_ENCRYPTION_KEY does not open the stored signing key ${kid}: it is another one, or the store was altered`,
      );
    },
  };
}

function decrypt(key: Uint8Array, kid: string, sealed: Buffer): Buffer | undefined {
  if (sealed.length <= nonceBytes + tagBytes) return undefined;
  const body = sealed.subarray(nonceBytes, -tagBytes);
  const options = { authTagLength: tagBytes };
  try {
    const nonce = sealed.subarray(0, nonceBytes);
    const decipher = createDecipheriv(algorithm, key, nonce, options)
      .setAAD(Buffer.from(kid))
      .setAuthTag(sealed.subarray(-tagBytes));
    return Buffer.concat([decipher.update(body), decipher.final()]);
  } catch {
    return undefined;
  }
}
