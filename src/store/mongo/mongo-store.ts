/**
 * The store on MongoDB: the users' collection, which may be another framework's, and Latchkey's own collections.
 * Depends on mongodb and the domain's ports.
 */
import { BSON } from "mongodb";
import type { Document } from "mongodb";
import type { UserRecord } from "../../auth/users.js";
import type { UsernameMatch } from "../../auth/usernames.js";
import type { LegacyUuidOrder, Preset } from "../../config/presets.js";
import type { Store } from "../store.js";
import { storeDeadlineMs } from "../unavailable.js";
import { MongoAudit, type AuditDocument } from "./audit.js";
import { neededCollections, optionalCollections } from "./collections.js";
import { MongoConnection, overriddenOptions, type MongoCall } from "./connection.js";
import { UserMapping } from "./document.js";
import { inspectMongo } from "./inspection.js";
import { MongoKeys, sharedSecret, type KeyDocument, type SecretDocument } from "./keys.js";
import type { UserDocument, UserFields } from "./document.js";
import { MongoRevocations, type RevocationDocument } from "./revocations.js";
import { MongoTakeover, type LearnedDocument, type TakeoverDocument } from "./takeover.js";
import { MongoThrottle, type StoredThrottleDocument } from "./throttle.js";
import { UsernameIndex } from "./username-index.js";
import { MongoUsers } from "./users.js";

/** How the documents of the users' collection are read. */
export interface MongoMappingOptions {
  readonly fields: UserFields;
  readonly usernameMatch?: UsernameMatch;
  /** Byte order of UUIDs in binary subtype 3; without it such an `_id` is not a user's. */
  readonly legacyUuid?: LegacyUuidOrder | undefined;
  /** The framework's preset, if one is set. */
  readonly preset?: Preset | undefined;
}

export interface MongoStoreOptions extends MongoMappingOptions {
  /** A connection string with database. */
  readonly uri: string;
  readonly usersCollection: string;
  /** Time after which a call fails. Default `storeDeadlineMs`. */
  readonly deadlineMs?: number;
  /** Whether to create what is missing: the index of an empty collection, the shared secret. Default true. */
  readonly mayCreate?: boolean;
  /** How many of the throttle's disposable documents are kept. */
  readonly throttleDocumentsMax?: number;
  /** How many entries of the administration log are kept. */
  readonly auditEntriesMax?: number;
}

/**
 * Opens the store without waiting for the database: every call connects anew if it has to.
 * @throws MongoStoreError
 */
export function openMongoStore(options: MongoStoreOptions): Store {
  const { deadlineMs = storeDeadlineMs, mayCreate = true } = options;
  const connection = new MongoConnection(options.uri, deadlineMs);
  const { db } = connection;
  const collection = db.collection<UserDocument>(options.usersCollection);
  const mapping = mappingOf(options);
  const hashes =
    mapping.hash.collection && db.collection<UserDocument>(mapping.hash.collection.name);
  const index = new UsernameIndex(collection, mapping, { deadlineMs, mayCreate });
  const call: MongoCall = async (work) => {
    const result = await connection.call(work);
    void index.prepare().catch(() => undefined);
    return result;
  };
  const { write, pages } = connection;
  const mongo = { call, write, pages };
  return {
    users: new MongoUsers(collection, hashes, mapping, mongo, index),
    keys: new MongoKeys(db.collection<KeyDocument>(neededCollections.keys), mongo),
    throttle: new MongoThrottle(
      db.collection<StoredThrottleDocument>(neededCollections.throttle),
      mongo,
      () => connection.now(),
      options.throttleDocumentsMax,
    ),
    audit: new MongoAudit(
      db.collection<AuditDocument>(neededCollections.audit),
      mongo,
      options.auditEntriesMax,
    ),
    revocations: new MongoRevocations(
      db.collection<RevocationDocument>(optionalCollections.REVOCATIONS[0]),
      mongo,
    ),
    takeover: new MongoTakeover(
      db.collection<LearnedDocument>(optionalCollections.UPSTREAM_URL[0]),
      db.collection<TakeoverDocument>(optionalCollections.UPSTREAM_URL[1]),
      mongo,
    ),
    inspect: (inspection) =>
      inspectMongo(
        { db, users: collection, hashes, mapping, index, mongo, uri: options.uri },
        inspection,
      ),
    secret: () =>
      call(() => sharedSecret(db.collection<SecretDocument>(neededCollections.keys), mayCreate)),
    ping: async () => {
      await call(() => db.command({ ping: 1 }));
    },
    warnings: async () => [
      ...overriddenOptions(options.uri),
      ...(await call(() => index.warnings())),
    ],
    close: () => connection.close(),
  };
}

function mappingOf({
  fields,
  usernameMatch = "exact",
  preset,
  legacyUuid,
}: MongoMappingOptions): UserMapping {
  return new UserMapping({
    fields,
    username: {
      match: usernameMatch,
      case: preset?.usernameCase,
      trimmed: preset?.trimsUsername,
      findsOtherCase: usernameMatch === "exact" && preset?.findsOtherCase,
      indexesStringsOnly: preset?.indexesStringsOnly,
    },
    rolesSeparator: preset?.rolesSeparator,
    legacyUuid,
    ...(preset?.hash && { hash: preset.hash }),
  });
}

/** Returns a reader of documents in Extended JSON, as `mongoexport` writes them. */
export function createExportReader(options: MongoMappingOptions) {
  const mapping = mappingOf(options);
  return (document: object): UserRecord | undefined => {
    try {
      return mapping.record(BSON.EJSON.deserialize(document) as Document);
    } catch {
      // A wrapper such as {"$oid":…} with an invalid value.
      return undefined;
    }
  };
}
