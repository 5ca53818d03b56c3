/**
 * Reads the keys and certificates that a configuration names. Depends on auth, the server's TLS,
 * config and the file system.
 */
import { X509Certificate } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import {
  generateRsaKey,
  KeyFileError,
  keyFileWarning,
  loadSigningKey,
  loadTrustedKeys,
  ManagedKeys,
  type KeyClock,
  type KeyEvent,
  type KeyStore,
  type RsaPrivateKey,
  type TrustedRsaKey,
} from "../auth/keys/keys.js";
import { checkConfig, ConfigError, type Config, type Environment } from "../config/config.js";
import {
  readTlsFiles,
  secureContextOptions,
  type TlsFiles,
  type TlsMaterial,
} from "../server/tls.js";

export interface KeyMaterial {
  readonly signing: RsaPrivateKey | undefined;
  readonly trusted: readonly TrustedRsaKey[];
  /** The certificate of the public port, and its files. */
  readonly tls: { readonly files: TlsFiles; readonly material: TlsMaterial } | undefined;
  /** The certificate authorities of the old server, PEM. */
  readonly upstreamCa: string | undefined;
  /** Warnings for the operator, one sentence each. */
  readonly warnings: readonly string[];
}

/**
 * Reads the variables and the files that they name.
 * @param check finds further faults of the variables that could be parsed
 * @throws ConfigError with all faults
 */
export async function readConfiguration(
  env: Environment,
  check: (values: Partial<Config>) => Promise<readonly string[]> = () => Promise.resolve([]),
): Promise<{ readonly config: Config; readonly keyMaterial: KeyMaterial }> {
  const { values, faults } = checkConfig(env);
  const keyMaterial = await collectKeyMaterial(values, faults);
  faults.push(...(await check(values)));
  if (faults.length > 0) throw new ConfigError(faults);
  return { config: Object.freeze(values as Config), keyMaterial };
}

/** @throws ConfigError with the faults of all files */
export async function readKeyMaterial(config: Config): Promise<KeyMaterial> {
  const faults: string[] = [];
  const keyMaterial = await collectKeyMaterial(config, faults);
  if (faults.length > 0) throw new ConfigError(faults);
  return keyMaterial;
}

/** Adds the faults of the files to `faults`. */
async function collectKeyMaterial(config: Partial<Config>, faults: string[]): Promise<KeyMaterial> {
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
  const tls = await readTls(config, faults);
  const upstreamCa = await readUpstreamCa(config, faults);
  return { signing, trusted, tls, upstreamCa, warnings };
}

async function readUpstreamCa(
  { UPSTREAM_CA_FILE: path }: Partial<Config>,
  faults: string[],
): Promise<string | undefined> {
  if (path === undefined) return undefined;
  try {
    const pem = await readFile(path, "utf8");
    new X509Certificate(pem);
    return pem;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason = code?.startsWith("E") && !code.startsWith("ERR") ? code : message;
    faults.push(`UPSTREAM_CA_FILE ${path} cannot be used: ${reason}`);
    return undefined;
  }
}

async function readTls(config: Partial<Config>, faults: string[]): Promise<KeyMaterial["tls"]> {
  const { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile, TLS_CLIENT_CA_FILE: caFile } = config;
  if (certFile === undefined || keyFile === undefined) return undefined;
  const files = { certFile, keyFile, ...(caFile !== undefined && { caFile }) };
  try {
    const material = await readTlsFiles(files);
    secureContextOptions(material);
    return { files, material };
  } catch (error) {
    const { message } = error as Error;
    faults.push(`${Object.values(files).join(", ")} cannot be used for TLS: ${message}`);
    return undefined;
  }
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
