/**
 * The choice between the two stores. Loads only the driver of the one that is configured. Depends on config
 * and, where they are on, the revocations.
 */
import type { User } from "../auth/users.js";
import type { Config } from "../config/config.js";
import { formatEncoder, rememberPepper } from "../auth/passwords/format.js";
import { presetOf, type Preset } from "../config/presets.js";
import type { Store } from "./store.js";

export interface OpenOptions {
  /** Time after which a call is given up, where the store's own is too short. */
  readonly deadlineMs?: number;
  /** Whether a store that is not there is made. Default true. */
  readonly mayCreate?: boolean;
  /** Milliseconds since the epoch. Default the system's. */
  readonly now?: () => number;
}

/**
 * The store of the configuration; only that one's driver is loaded. MongoDB need not be there yet.
 * @throws EmbeddedStoreError if the embedded store's file cannot be used.
 * @throws MongoStoreError if the driver cannot make sense of `MONGODB_URI`.
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
  // An imported hash names its pepper in either store.
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

/** What makes a user of a document of MongoDB's Extended JSON, undefined where it is none. */
export async function readExportedUser(
  config: Config,
): Promise<(document: object) => User | undefined> {
  const { createExportReader } = await import("./mongo/mongo-store.js");
  return createExportReader(mappingOf(config));
}

/** The preset, its hashes read as USERS_PASSWORD_FORMAT says where that is set. */
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
