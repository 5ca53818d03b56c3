/**
 * The stores behind the domain's ports, and the choice between them. Depends on auth and config.
 */
import type { KeyStore } from "../auth/keys.js";
import type { ThrottleStore } from "../auth/throttle/store.js";
import type { User, UserStore } from "../auth/users.js";
import type { Config } from "../config.js";
import type { Finding, InspectionOptions } from "./inspection.js";
import { presetOf } from "../presets.js";

export interface Store {
  readonly users: UserStore;
  readonly keys: KeyStore;
  readonly throttle: ThrottleStore;
  /** 32 random bytes, the same for every process on this store. */
  secret(): Promise<Uint8Array>;
  /**
   * Looks at the store as `doctor` does.
   * @throws AuthError `store_unavailable`
   */
  inspect(options: InspectionOptions): AsyncIterable<Finding>;
  /** Resolves while the store answers, else throws `store_unavailable`. */
  ping(): Promise<void>;
  /**
   * What an operator should mend in the set-up of the store, one sentence each.
   * @throws AuthError `store_unavailable`
   */
  warnings(): Promise<readonly string[]>;
  close(): Promise<void>;
}

/**
 * The store of the configuration; only that one's driver is loaded. MongoDB need not be there yet.
 * @param options.deadlineMs time after which a call is given up, where the store's own is too short.
 * @throws EmbeddedStoreError if the embedded store's file cannot be used.
 * @throws MongoStoreError if the driver cannot make sense of `MONGODB_URI`.
 */
export async function openStore(
  config: Config,
  { deadlineMs }: { readonly deadlineMs?: number } = {},
): Promise<Store> {
  const deadline = deadlineMs === undefined ? {} : { deadlineMs };
  if (config.MONGODB_URI === undefined) {
    const { openEmbeddedStore } = await import("./embedded.js");
    return openEmbeddedStore({
      dataDir: config.DATA_DIR,
      usernameMatch: config.USERNAME_MATCH,
      ...deadline,
    });
  }
  const { openMongoStore } = await import("./mongo.js");
  return openMongoStore({
    uri: config.MONGODB_URI,
    ...deadline,
    usersCollection: config.USERS_COLLECTION,
    ...mappingOf(config),
  });
}

/** What makes a user of a document of MongoDB's Extended JSON, undefined where it is none. */
export async function readExportedUser(
  config: Config,
): Promise<(document: object) => User | undefined> {
  const { createExportReader } = await import("./mongo.js");
  return createExportReader(mappingOf(config));
}

function mappingOf(config: Config) {
  return {
    usernameMatch: config.USERNAME_MATCH,
    preset: presetOf(config.USERS_PRESET),
    fields: {
      username: config.USERS_USERNAME_FIELD,
      password: config.USERS_PASSWORD_FIELD,
      disabled: config.USERS_DISABLED_FIELD,
      roles: config.USERS_ROLES_FIELD,
      tokensValidAfter: config.USERS_TOKENS_VALID_AFTER_FIELD,
    },
  };
}
