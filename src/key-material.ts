/**
 * The keys that a configuration stands for: those of the files that it names, and the managed ones.
 * Depends on auth, config and the file system.
 */
import { readFile, stat } from "node:fs/promises";
import {
  KeyFileError,
  keyFileWarning,
  loadSigningKey,
  loadTrustedKeys,
  type TrustedRsaKey,
} from "./auth/key-files.js";
import type { KeyEvent } from "./auth/key-events.js";
import type { KeyStore } from "./auth/keys.js";
import { ManagedKeys } from "./auth/managed-keys.js";
import type { KeyClock } from "./auth/ring-replica.js";
import { generateRsaKey, type RsaPrivateKey } from "./auth/rsa-keys.js";
import { ConfigError, type Config } from "./config.js";

export interface KeyMaterial {
  readonly signing: RsaPrivateKey | undefined;
  readonly trusted: readonly TrustedRsaKey[];
  /** What an operator should mend, one sentence each. */
  readonly warnings: readonly string[];
}

/** @throws ConfigError with the faults of both files. */
export async function readKeyMaterial(config: Config): Promise<KeyMaterial> {
  const faults: string[] = [];
  const warnings: string[] = [];

  async function read<T>(
    variable: "SIGNING_KEY_FILE" | "TRUSTED_KEYS_FILE",
    load: (bytes: Uint8Array) => Promise<T>,
  ): Promise<T | undefined> {
    const path = config[variable];
    if (path === undefined) return undefined;
    try {
      const warning = variable === "SIGNING_KEY_FILE" && keyFileWarning(await stat(path));
      if (warning) warnings.push(`${variable} ${path}: ${warning}`);
      return await load(await readFile(path));
    } catch (error) {
      if (error instanceof KeyFileError) {
        faults.push(...error.faults.map((fault) => `${variable} ${path}: ${fault}`));
      } else {
        faults.push(`${variable} ${path} cannot be read: ${(error as NodeJS.ErrnoException).code}`);
      }
      return undefined;
    }
  }

  const signing = await read("SIGNING_KEY_FILE", loadSigningKey);
  const trusted = (await read("TRUSTED_KEYS_FILE", loadTrustedKeys)) ?? [];
  if (faults.length > 0) throw new ConfigError(faults);
  return { signing, trusted, warnings };
}

export function createManagedKeys(
  deps: {
    readonly config: Config;
    readonly store: { readonly keys: KeyStore };
    readonly keyMaterial: KeyMaterial;
  },
  clock: KeyClock,
  onEvent?: (event: KeyEvent) => void,
): ManagedKeys {
  const { config, store, keyMaterial } = deps;
  return new ManagedKeys({
    store: store.keys,
    clock,
    intervalSeconds: config.KEY_ROTATION_INTERVAL,
    tokenSeconds: config.TOKEN_TTL + config.TOKEN_LEEWAY,
    encryptionKeys: config.KEY_ENCRYPTION_KEY ?? [],
    generateKey: () => generateRsaKey(config.SIGNING_KEY_BITS),
    signingFileKey: keyMaterial.signing,
    trustedFileKeys: keyMaterial.trusted,
    ...(onEvent && { onEvent }),
  });
}
