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
  /** As encoded by whoever made it, or undefined where the user has none. */
  readonly passwordHash: string | undefined;
  readonly disabled: boolean;
  /** Empty where the user has none. */
  readonly roles: readonly string[];
  /** Tokens whose `iat` is not after this instant are refused. */
  readonly tokensValidAfter: Date | undefined;
}

/** A user of an import. What it leaves open stays as it is stored; a new user is enabled and has no roles. */
export interface UserToImport extends Omit<User, "disabled" | "roles"> {
  readonly disabled: boolean | undefined;
  readonly roles: readonly string[] | undefined;
}

/** A stored record as a login reads it, for the operator. */
export interface UserRecord {
  /** Undefined where the record can be nobody's. */
  readonly user: User | undefined;
  /** The `_id` as text, whatever its type. */
  readonly id: string;
  /** Why no login finds it; undefined where one does. */
  readonly fault?: UserRecordFault | undefined;
  /** Why the hash that is there cannot be read. */
  readonly hashFault?: string | undefined;
  /** What a login leaves out or reads otherwise than one would expect, each a sentence's end: "has …". */
  readonly notes: readonly string[];
}

export interface UserRecordFault {
  /** `no_name`: it has no username at all. `duplicate`: another one has the name too. */
  readonly kind: "no_name" | "duplicate" | "foreign" | "unreachable";
  /** Completes "N users have …". */
  readonly reason: string;
}

/** What the renewal of a token needs of its user: all but the hash. */
export type Account = Omit<User, "passwordHash">;

/** What may be changed of a user in place; a field that is absent stays as it is. */
export interface UserChange {
  readonly passwordHash?: string;
  readonly disabled?: boolean;
  readonly roles?: readonly string[];
  readonly tokensValidAfter?: Date;
}

/** What an import does with a user whose `_id` and username both belong to one stored user. */
export type ImportConflict = "fail" | "skip" | "replace";

/**
 * What became of one user of an import. `exists`: both `_id` and username are those of one stored
 * user and the policy is `fail`. `id_taken`, `username_taken`: only that one belongs to a stored
 * user (or the two to two of them); never written, whatever the policy. `refused`: a rule of the
 * store's own, as the end of a sentence about the user; never written either.
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

/** An import that a fault of the store cut short. */
export class UnfinishedImport extends AuthError {
  /** By position, what is known for sure; undefined where a user may or may not have been written. */
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
 * The store of the users. Every method
 *
 * - answers within the store's own deadline, or throws an `AuthError` with the code
 *   `store_unavailable`; it never reports a lost store as an absent user;
 * - sees what any process wrote before the call began, and what it wrote itself survives the process
 *   and the machine once the promise has resolved.
 */
export interface UserStore {
  /** The user of that name, compared as `USERNAME_MATCH` says. */
  findByUsername(username: string): Promise<User | undefined>;
  /**
   * The account whose `_id` as a string is `subject`, whatever the type of the `_id`; undefined where
   * none has it or where two do, as `1` and `"1"`.
   */
  findBySubject(subject: string): Promise<Account | undefined>;
  /** Adds a user. Atomic: of any number of racing calls with one `_id` or username, one adds. */
  add(user: User): Promise<"added" | "id_taken" | "username_taken">;
  /**
   * Adds or, with `replace`, overwrites users; one outcome each, in order. Each user is written whole
   * or not at all. A `replace` that changes the hash sets `tokensValidAfter` to `replacedAt`, else it keeps
   * what is stored, as it keeps what the user leaves open. With `dryRun` the outcomes are those that a real
   * call would have had, but for what rules of the store's own refuse.
   * @throws UnfinishedImport where the store fails on the way
   */
  import(users: readonly UserToImport[], options: ImportOptions): Promise<ImportOutcome[]>;
  /** Changes a user in place; false where there is none. Fields we do not know stay as they are. */
  update(id: UserId, change: UserChange): Promise<boolean>;
  /** Compare-and-set: writes `newHash` only while `oldHash`, or none, is what is stored. True if it wrote. */
  replacePasswordHash(id: UserId, oldHash: string | undefined, newHash: string): Promise<boolean>;
  /** Removes a user; false where there was none. */
  remove(id: UserId): Promise<boolean>;
  /** Those of the ids that belong to a user. */
  existing(ids: readonly UserId[]): Promise<readonly UserId[]>;
  /** The hashes of about so many users, drawn at random. */
  sampleHashes(size: number): Promise<readonly string[]>;
  /** All users, in no particular order, in memory that does not grow with their number. */
  list(): AsyncIterable<User>;
  /** The same of every record, be it a user of ours or not, with what a login makes of it. */
  records(): AsyncIterable<UserRecord>;
}

const int64Min = -(2n ** 63n);
const int64Max = 2n ** 63n - 1n;
/** What has fewer characters is one without a look. */
const int64LengthMin = 19;
const uuidForm = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const idForms = {
  int: /^(0|-?[1-9][0-9]{0,18})$/,
  string: /^[^]+$/,
  objectid: /^[0-9a-f]{24}$/,
  uuid: uuidForm,
  legacyuuid: uuidForm,
} as const satisfies Record<UserIdType, RegExp>;

/** The id of that type whose canonical text is `value`, or undefined where that type has no such id. */
export function toUserId(type: UserIdType, value: string): UserId | undefined {
  if (!idForms[type].test(value)) return undefined;
  if (type === "int" && !isInt64(value)) return undefined;
  return { type, value };
}

function isInt64(decimal: string): boolean {
  if (decimal.length < int64LengthMin) return true;
  return BigInt(decimal) >= int64Min && BigInt(decimal) <= int64Max;
}

/** Every id, of whatever type, that gives this subject. */
export function userIdsOfSubject(subject: string): UserId[] {
  const ids: UserId[] = [];
  // Every renewal comes by here, so without the arrays that flatMap would make.
  for (const type of userIdTypes) {
    const id = toUserId(type, subject);
    if (id) ids.push(id);
  }
  return ids;
}
