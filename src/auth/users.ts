/**
 * The users and the port to the store that keeps them. Depends on the domain's errors.
 */
import { AuthError } from "./errors.js";

/** The types of `_id` that a subject can be mapped back to; `legacyuuid` is MongoDB's binary subtype 3. */
export const userIdTypes = ["int", "string", "objectid", "uuid", "legacyuuid"] as const;
export type UserIdType = (typeof userIdTypes)[number];

/**
 * A user's `_id`, whatever its type in the store. `value` is canonical: decimal without leading zeros
 * (64-bit signed) for `int`, 24 lower-case hex digits for `objectid`, the lower-case form with hyphens
 * of RFC 9562 for `uuid` and `legacyuuid`. It is also the `sub` of the user's tokens.
 */
export interface UserId {
  readonly type: UserIdType;
  readonly value: string;
}

export interface User {
  readonly id: UserId;
  readonly username: string;
  /** The hash as its maker encoded it; undefined if the user has none. */
  readonly passwordHash: string | undefined;
  readonly disabled: boolean;
  /** Empty if the user has none. */
  readonly roles: readonly string[];
  /** Tokens whose `iat` is not after this instant are refused. */
  readonly tokensValidAfter: Date | undefined;
}

/**
 * A user of an import. An undefined field stays as it is stored; a new user is then enabled and has
 * no roles.
 */
export interface UserToImport extends Omit<User, "disabled" | "roles"> {
  readonly disabled: boolean | undefined;
  readonly roles: readonly string[] | undefined;
}

/** A stored record as a login reads it, for operators. */
export interface UserRecord {
  /** Undefined if no user can be read from the record. */
  readonly user: User | undefined;
  /** The `_id` as text, whatever its type. */
  readonly id: string;
  /** Why no login finds the record; undefined if one does. */
  readonly fault?: UserRecordFault | undefined;
  /** Why the stored hash cannot be read. */
  readonly hashFault?: string | undefined;
  /** What a login ignores or reads in an unexpected way. Each completes a sentence: "has …". */
  readonly notes: readonly string[];
}

export interface UserRecordFault {
  /**
   * `no_name`: it has no username. `duplicate`: another record has the same one. `foreign`: its
   * username is no text, or its `_id` is of a type that is no subject. `unreachable`: its username
   * is one that no login can give.
   */
  readonly kind: "no_name" | "duplicate" | "foreign" | "unreachable";
  /** Completes "N users have …". */
  readonly reason: string;
}

/** A user without the hash, which is all that a renewal needs. */
export type Account = Omit<User, "passwordHash">;

/** A change of a user in place. An absent field stays as it is. */
export interface UserChange {
  readonly passwordHash?: string;
  readonly disabled?: boolean;
  readonly roles?: readonly string[];
  readonly tokensValidAfter?: Date;
}

/** What an import does with a user if one stored user has both the `_id` and the username. */
export type ImportConflict = "fail" | "skip" | "replace";

/**
 * The outcome of one user of an import. `exists`: one stored user has both the `_id` and the
 * username, and the policy is `fail`. `id_taken`, `username_taken`: a stored user has only that
 * one, or two stored users have one each; never written, whatever the policy. `refused`: a rule of
 * the store refused it, as the end of a sentence about the user; not written.
 */
export type ImportOutcome =
  | "added"
  | "replaced"
  | "skipped"
  | "exists"
  | "id_taken"
  | "username_taken"
  | { readonly refused: string };

export interface ImportOptions {
  readonly onConflict: ImportConflict;
  readonly replacedAt: Date;
  readonly dryRun: boolean;
}

/** An import that a fault of the store interrupted. */
export class UnfinishedImport extends AuthError {
  /** The known outcomes by position; undefined if a user may or may not have been written. */
  readonly outcomes: readonly (ImportOutcome | undefined)[];

  constructor(outcomes: readonly (ImportOutcome | undefined)[], cause: AuthError) {
    super(cause.code, cause.message, {
      cause: cause.cause,
      ...(cause.retryAfterSeconds !== undefined && { retryAfterSeconds: cause.retryAfterSeconds }),
      wroteNothing:
        cause.wroteNothing &&
        !outcomes.some((outcome) => outcome === "added" || outcome === "replaced"),
    });
    this.outcomes = outcomes;
  }
}

/**
 * The port to the store of the users. Every method
 *
 * - answers within the store's own deadline, or throws an `AuthError` with the code
 *   `store_unavailable`; it never reports a lost store as an absent user;
 * - sees what any process wrote before the call began; what it wrote itself survives the process
 *   and the machine once the promise has resolved.
 */
export interface UserStore {
  /** The user with this username, compared as `USERNAME_MATCH` says. */
  findByUsername(username: string): Promise<User | undefined>;
  /**
   * The account whose `_id` as a string is `subject`, whatever the type of the `_id`. Undefined if
   * there is none, or if there are two, such as `1` and `"1"`.
   */
  findBySubject(subject: string): Promise<Account | undefined>;
  /** Adds a user. Atomic: of racing calls with the same `_id` or username, one adds. */
  add(user: User): Promise<"added" | "id_taken" | "username_taken">;
  /**
   * Adds users or, with `replace`, overwrites them; returns one outcome each, in order. Each user
   * is written whole or not at all. A `replace` that changes the hash sets `tokensValidAfter` to
   * `replacedAt`; any other keeps the stored value, as it does for undefined fields. With `dryRun`
   * the outcomes are those of a real call, except where a rule of the store would refuse.
   * @throws UnfinishedImport if the store fails on the way
   */
  import(users: readonly UserToImport[], options: ImportOptions): Promise<ImportOutcome[]>;
  /**
   * Changes a user in place; false if there is none. Stored fields that we do not know stay as they
   * are.
   */
  update(id: UserId, change: UserChange): Promise<boolean>;
  /** Compare-and-set: writes `newHash` only if `oldHash` (or none) is stored. True if it wrote. */
  replacePasswordHash(id: UserId, oldHash: string | undefined, newHash: string): Promise<boolean>;
  /** Removes a user; false if there was none. */
  remove(id: UserId): Promise<boolean>;
  /** Those of the ids that a user has. */
  existing(ids: readonly UserId[]): Promise<readonly UserId[]>;
  /** The hashes of about `size` users, drawn at random. */
  sampleHashes(size: number): Promise<readonly string[]>;
  /** All users, in no particular order, in memory that does not grow with their number. */
  list(): AsyncIterable<User>;
  /** Like `list`, for every stored record, whether a user can be read from it or not. */
  records(): AsyncIterable<UserRecord>;
}

const int64Min = -(2n ** 63n);
const int64Max = 2n ** 63n - 1n;
/** An integer with fewer characters always fits in 64 bits. */
const int64LengthMin = 19;
const uuidForm = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const idForms = {
  int: /^(0|-?[1-9][0-9]{0,18})$/,
  string: /^[^]+$/,
  objectid: /^[0-9a-f]{24}$/,
  uuid: uuidForm,
  legacyuuid: uuidForm,
} as const satisfies Record<UserIdType, RegExp>;

/** The id of that type whose canonical text is `value`; undefined if the type has no such id. */
export function toUserId(type: UserIdType, value: string): UserId | undefined {
  if (!idForms[type].test(value)) return undefined;
  if (type === "int" && !isInt64(value)) return undefined;
  return { type, value };
}

function isInt64(decimal: string): boolean {
  if (decimal.length < int64LengthMin) return true;
  return BigInt(decimal) >= int64Min && BigInt(decimal) <= int64Max;
}

/** Every id, of any type, that has this subject. */
export function userIdsOfSubject(subject: string): UserId[] {
  const ids: UserId[] = [];
  // Every renewal runs this, so it avoids the arrays that flatMap would make.
  for (const type of userIdTypes) {
    const id = toUserId(type, subject);
    if (id) ids.push(id);
  }
  return ids;
}
