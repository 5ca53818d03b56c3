/**
 * Opens the configured store, and loads the driver of that one only. Depends on config and, if `REVOCATIONS` is
 * on, the revocations.
 */
import type { UserRecord } from "../auth/users.js";
import type { Config } from "../config/config.js";
import { formatEncoder, rememberPepper } from "../auth/passwords/format.js";
import { presetOf, type Preset } from "../config/presets.js";
import type { Store } from "./store.js";

export interface OpenOptions {
  /** Time after which a call fails. Default `storeDeadlineMs`. */
  readonly deadlineMs?: number;
  /** Whether to create a store that does not exist. Default true. */
  readonly mayCreate?: boolean;
  /** Milliseconds since the epoch. Default the system's. */
  readonly now?: () => number;
}

/**
 * Opens the configured store. Does not wait for MongoDB.
 * @throws EmbeddedStoreError if the embedded store's file cannot be used
 * @throws MongoStoreError if `MONGODB_URI` cannot be used
 */
export async function openStore(config: Config, options: OpenOptions = {}): Promise<Store> {
  const store = await openConfigured(config, options);
  if (!config.REVOCATIONS) return store;
  const { RecordingUsers } = await import("../revocations/recording-users.js");
  const { now = Date.now } = options;
  const keepSeconds = config.TOKEN_TTL + config.TOKEN_LEEWAY;
  return { ...store, users: new RecordingUsers({ ...store, keepSeconds, now }) };
}

async function openConfigured(config: Config, options: OpenOptions): Promise<Store> {
  const { deadlineMs, mayCreate = true } = options;
  // Imported hashes may need the pepper, in either store.
  if (config.USERS_PASSWORD_PEPPER !== undefined) rememberPepper(config.USERS_PASSWORD_PEPPER);
  const common = { mayCreate, ...(deadlineMs !== undefined && { deadlineMs }) };
  if (config.MONGODB_URI === undefined) {
    const { openEmbeddedStore } = await import("./embedded/embedded-store.js");
    return openEmbeddedStore({
      dataDir: config.DATA_DIR,
      usernameMatch: config.USERNAME_MATCH,
      ...common,
    });
  }
  const { openMongoStore } = await import("./mongo/mongo-store.js");
  return openMongoStore({
    uri: config.MONGODB_URI,
    ...common,
    usersCollection: config.USERS_COLLECTION,
    ...mappingOf(config),
  });
}

/** Returns a reader of users' documents in MongoDB's Extended JSON. It returns undefined for other documents. */
export async function readExportedUser(
  config: Config,
): Promise<(document: object) => UserRecord | undefined> {
  const { createExportReader } = await import("./mongo/mongo-store.js");
  return createExportReader(mappingOf(config));
}

/** The preset, with its hashes read by USERS_PASSWORD_FORMAT if that is set. */
function presetWithFormat(config: Config): Preset | undefined {
  const { USERS_PASSWORD_FORMAT: format, USERS_PASSWORD_PEPPER: pepper } = config;
  const preset = presetOf(config.USERS_PRESET);
  if (format === undefined) return preset;
  const encode = formatEncoder(format, pepper);
  const { saltField: salt } = format;
  const sources = [{ encode, ...(salt !== undefined && { salt }) }] as const;
  const marksOwn = format.algorithm === "marked";
  return { variables: {}, ...preset, hash: { ...preset?.hash, sources, marksOwn } };
}

function mappingOf(config: Config) {
  return {
    usernameMatch: config.USERNAME_MATCH,
    preset: presetWithFormat(config),
    legacyUuid: config.USERS_LEGACY_UUID,
    fields: {
      username: config.USERS_USERNAME_FIELD,
      password: config.USERS_PASSWORD_FIELD,
      disabled: config.USERS_DISABLED_FIELD,
      roles: config.USERS_ROLES_FIELD,
      tokensValidAfter: config.USERS_TOKENS_VALID_AFTER_FIELD,
    },
  };
}
