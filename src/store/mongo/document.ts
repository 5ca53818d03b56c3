/**
 * Reads a user from a document of the users' collection, and writes one into it. Depends on mongodb's BSON
 * types, the domain's users and the layouts of the presets.
 */
import { Binary, DBRef } from "mongodb";
import type { CollationOptions, Document } from "mongodb";
import { usernameCodePointsMax } from "../../auth/limits.js";
import type { Account, User, UserChange, UserRecord, UserRecordFault } from "../../auth/users.js";
import { usernameKeyOf, type UsernameKey, type UsernameMatch } from "../../auth/usernames.js";
import { plainHash, type HashLayout, type LegacyUuidOrder } from "../../config/presets.js";
import { DisabledFlag, type Lookup } from "./disabled-flag.js";
import type { Occupant } from "../import-plan.js";
import { isReadableInstant, toInstant } from "./instant.js";
import { UserIds, describeForeignId, showId, type DocumentId } from "./user-ids.js";

/** The paths of a user's fields, dotted if nested. */
export interface UserFields {
  readonly username: string;
  readonly password: string;
  /** In the grammar of `parseConditions`. */
  readonly disabled: string;
  readonly roles: string;
  readonly tokensValidAfter: string;
}

export interface UserDocument extends Document {
  _id: DocumentId;
}

/** The value at a dotted path. */
export function at(document: Document, path: string): unknown {
  return path
    .split(".")
    .reduce<unknown>(
      (value, key) =>
        typeof value === "object" && value !== null ? (value as Document)[key] : undefined,
      document,
    );
}

/** The keys under which a role that is an object may have its name. */
const roleNames = ["authority", "role", "name", "_id"];

/** The roles that can be read, and whether these are all. */
function readRoles(value: unknown, separator: string | undefined) {
  if (value === undefined || value === null) return { roles: [], areAllRead: true };
  const given: unknown[] = Array.isArray(value)
    ? value
    : typeof value === "string" && separator !== undefined
      ? value.split(separator).map((role) => role.trim())
      : [value];
  const roles = given.map(roleName).filter(isText);
  return { roles, areAllRead: roles.length === given.filter((role) => role !== "").length };
}

function roleName(role: unknown): unknown {
  if (typeof role !== "object" || role === null) return role;
  if (role instanceof DBRef) return role.oid;
  return roleNames.map((key) => (role as Document)[key] as unknown).find(isText);
}

const isText = (value: unknown): value is string => typeof value === "string" && value !== "";

/** The text of a stored hash, which may be bytes, with blanks or the padding of a CHAR column around it. */
function hashText(value: unknown): string | undefined {
  if (typeof value === "string") return value.trim();
  if (value instanceof Binary && value.sub_type === Binary.SUBTYPE_DEFAULT) {
    return value.toString("utf8").replace(/^[\0\s]+|[\0\s]+$/g, "");
  }
  return undefined;
}

/** How usernames are compared, and what the framework does to a name before it looks it up. */
export interface UsernameRule {
  readonly match?: UsernameMatch;
  readonly case?: "lower" | "upper" | undefined;
  /** Whether the framework trims the name. */
  readonly trimmed?: boolean | undefined;
  /** Whether a name that no user has finds the one user whose name differs in case only. */
  readonly findsOtherCase?: boolean | undefined;
  readonly indexesStringsOnly?: boolean | undefined;
}

export interface MappingOptions {
  readonly fields: UserFields;
  readonly username?: UsernameRule;
  readonly hash?: HashLayout;
  readonly rolesSeparator?: string | undefined;
  readonly legacyUuid?: LegacyUuidOrder | undefined;
}

/** The mapping between the documents of one users' collection and users. */
export class UserMapping {
  readonly fields: UserFields;
  /** Projects a user's document to the mapped fields. */
  readonly projection: Readonly<Record<string, 1>>;
  /** The same, without the hash. */
  readonly accountProjection: Readonly<Record<string, 1>>;
  /** Projects a document that holds a hash to the fields of the hash. */
  readonly hashProjection: Readonly<Record<string, 1>>;
  readonly hash: HashLayout;
  readonly usernameKey: UsernameKey;
  /** The collation for usernames; undefined if they are compared byte by byte. */
  readonly collation: CollationOptions | undefined;
  /** The path of an index on the username: the path of the list, if the name is at a position in one. */
  readonly indexPath: string;
  readonly ids: UserIds;
  readonly findsOtherCase: boolean;
  /** Projects a user's document to the fields that tell whether he is disabled. */
  readonly flagProjection: Readonly<Record<string, 1>>;
  readonly #rule: UsernameRule;
  readonly #flag: DisabledFlag;
  readonly #rolesSeparator: string | undefined;

  constructor(options: MappingOptions) {
    const { fields, hash = plainHash, rolesSeparator, username: rule = {} } = options;
    const { match = "exact" } = rule;
    this.fields = fields;
    this.hash = hash;
    this.usernameKey = usernameKeyOf(match);
    this.collation = collations[match];
    this.indexPath = fields.username.replace(/\.\d+(?=\.|$)/g, "");
    this.ids = new UserIds(options.legacyUuid);
    this.findsOtherCase = rule.findsOtherCase ?? false;
    this.#rule = rule;
    this.#flag = new DisabledFlag(fields.disabled);
    this.#rolesSeparator = rolesSeparator;
    this.flagProjection = projectionOf(this.#flag.paths);
    const { username, roles, tokensValidAfter } = fields;
    const paths = [username, ...this.#flag.paths, roles, tokensValidAfter];
    this.hashProjection = projectionOf([
      ...this.#hashPaths(),
      ...(hash.collection ? [hash.collection.userId] : []),
    ]);
    this.accountProjection = projectionOf(paths);
    this.projection = projectionOf([...paths, ...(hash.collection ? [] : this.#hashPaths())]);
  }

  /** The name to query for. Normalized under a collation, which may tell Unicode forms of one name apart. */
  queriedUsername(username: string): string {
    const asked = this.askedUsername(username);
    return this.collation ? asked.normalize("NFC") : asked;
  }

  /** The names to query for: the stored name may have another Unicode form than the given one. */
  queriedForms(username: string): string[] {
    const queried = this.queriedUsername(username);
    return this.collation ? [...new Set([queried, queried.normalize("NFD")])] : [queried];
  }

  /** Filters by a condition on the username. May also find documents with the name elsewhere in a list. */
  nameFilter(condition: Document): Document {
    return { ...this.lookupFilter(condition), [this.fields.username]: this.#ofText(condition) };
  }

  /** The same by the index alone, so it also finds documents with the name at another position of the list. */
  lookupFilter(condition: Document): Document {
    return { [this.indexPath]: this.#ofText(condition) };
  }

  #ofText(condition: Document): Document {
    return this.#rule.indexesStringsOnly ? { ...condition, $type: "string" } : condition;
  }

  /** The name in the form in which the framework looks it up. */
  askedUsername(username: string): string {
    const name = this.#rule.trimmed ? username.trim() : username;
    if (this.#rule.case === undefined) return name;
    return this.#rule.case === "lower" ? name.toLowerCase() : name.toUpperCase();
  }

  isSameUsername(a: string, b: string): boolean {
    return this.usernameKey(a) === this.usernameKey(b);
  }

  #hashPaths(): string[] {
    return this.hash.sources.flatMap(({ path = this.fields.password, salt }) =>
      salt === undefined ? [path] : [path, salt],
    );
  }

  /** The hash in a document, as one string that a hash family recognises. */
  passwordHash(document: Document): string | undefined {
    return this.#readHash(document).hash;
  }

  /** The first hash found, or why it cannot be read. */
  #readHash(document: Document): { hash?: string; fault?: string } {
    for (const { path = this.fields.password, salt, encode } of this.hash.sources) {
      const stored = at(document, path);
      if (stored === undefined || stored === null || stored === "") continue;
      const hash = hashText(stored);
      if (hash === undefined) return { fault: `${path} is neither text nor bytes` };
      // Latchkey's own hashes need no salt; a framework's hash without one is passed on and matches no password.
      return { hash: encode(hash, salt === undefined ? "" : saltText(at(document, salt))) };
    }
    return {};
  }

  /** The username; undefined if it is not text. */
  usernameOf(document: Document): string | undefined {
    const username = at(document, this.fields.username);
    return typeof username === "string" ? username : undefined;
  }

  /** The fields of the hash with their values, to filter by, so that a write replaces only the hash that was read. */
  hashFields(document: Document): Record<string, unknown> {
    return Object.fromEntries(this.#hashPaths().map((path) => [path, at(document, path) ?? null]));
  }

  /** The update that sets `hash` and removes every other hash. */
  hashUpdate(hash: string): { $set: Document; $unset?: Document } {
    const { password } = this.fields;
    const others = this.hash.sources.flatMap(({ path = password }) =>
      path === password ? [] : path,
    );
    return {
      $set: { [password]: this.#marked(hash) },
      ...(others.length > 0 && { $unset: ones(others) }),
    };
  }

  #marked(hash: string): string {
    return this.hash.marksOwn && hash.startsWith("$argon2id$") ? `{argon2}${hash}` : hash;
  }

  /** The fields of a document that an import has to know, even if it is not a user's. */
  occupant(document: Document, hashes: Document = document): Occupant {
    const username = at(document, this.fields.username);
    const account = this.account(document);
    return {
      id: this.ids.read(document["_id"]),
      username: typeof username === "string" ? username : undefined,
      passwordHash: this.passwordHash(hashes),
      hashFields: this.hashFields(hashes),
      disabled: account?.disabled ?? false,
      roles: account?.roles ?? [],
      tokensValidAfter: toInstant(at(document, this.fields.tokensValidAfter)),
    };
  }

  /**
   * The user of a document, or undefined as for `account`.
   * @param hashes the document with the hash, if it is another one
   */
  user(document: Document, hashes: Document = document): User | undefined {
    const account = this.account(document);
    return account && { ...account, passwordHash: this.passwordHash(hashes) };
  }

  /** The account of a document; undefined if the username is not a string or the `_id` cannot be a subject. */
  account(document: Document): Account | undefined {
    const id = this.ids.read(document["_id"]);
    const username = at(document, this.fields.username);
    if (id === undefined || typeof username !== "string") return undefined;
    return {
      id,
      username,
      tokensValidAfter: toInstant(at(document, this.fields.tokensValidAfter)),
      disabled: this.#flag.isDisabled(lookupIn(document)),
      roles: readRoles(at(document, this.fields.roles), this.#rolesSeparator).roles,
    };
  }

  /** Reports to an operator how a login would read the document. Does not look for other users of the same name. */
  record(document: Document, hashes: Document = document): UserRecord {
    return {
      user: this.user(document, hashes),
      id: showId(document["_id"]),
      fault: this.#faultOf(document),
      hashFault: this.#readHash(hashes).fault,
      notes: this.#notesOn(document),
    };
  }

  #faultOf(document: Document): UserRecordFault | undefined {
    const path = this.fields.username;
    const username = at(document, path);
    if (username === undefined || username === null) {
      return { kind: "no_name", reason: `no ${path}` };
    }
    if (typeof username !== "string") {
      return { kind: "foreign", reason: `a ${path} that is no text` };
    }
    if (this.ids.read(document["_id"]) === undefined) {
      return { kind: "foreign", reason: describeForeignId(document["_id"]) };
    }
    if (username === "") return { kind: "unreachable", reason: `an empty ${path}` };
    if (Array.from(username).length > usernameCodePointsMax) {
      return {
        kind: "unreachable",
        reason: `a ${path} of over ${usernameCodePointsMax} characters`,
      };
    }
    if (!this.isSameUsername(this.askedUsername(username), username)) {
      const reason = `a ${path} that is not in the form in which a login looks for it`;
      return { kind: "unreachable", reason };
    }
    return undefined;
  }

  #notesOn(document: Document): string[] {
    const { roles, tokensValidAfter } = this.fields;
    const instant = at(document, tokensValidAfter);
    const isForever = (toInstant(instant)?.getTime() ?? 0) > Date.now();
    return [
      ...(readRoles(at(document, roles), this.#rolesSeparator).areAllRead
        ? []
        : [`${roles} that cannot be read: their tokens lack them`]),
      ...(isForever
        ? [
            `a ${tokensValidAfter} that ${isReadableInstant(instant) ? "lies in the future" : "is not a point in time"}: they can log in, but cannot renew their tokens`,
          ]
        : []),
    ];
  }

  /** Whether `update` needs the present document to write this change. */
  needsDocument({ disabled }: UserChange): boolean {
    return disabled !== undefined;
  }

  /** The update for a change, apart from its hash; undefined if there is nothing to write. */
  update(
    { disabled, roles, tokensValidAfter }: UserChange,
    document: Document,
  ): Document | undefined {
    return toUpdate({
      ...(roles && { [this.fields.roles]: this.#rolesValue(roles) }),
      ...(disabled !== undefined && this.#flag.changes(disabled, lookupIn(document))),
      ...(tokensValidAfter && { [this.fields.tokensValidAfter]: tokensValidAfter }),
    });
  }

  #rolesValue(roles: readonly string[]): readonly string[] | string | undefined {
    if (roles.length === 0) return undefined;
    return this.#rolesSeparator === undefined ? roles : roles.join(this.#rolesSeparator);
  }

  /** Every value of a user by path; undefined for values that the user does not have. */
  values(user: User): Record<string, unknown> {
    return {
      [this.fields.username]: this.askedUsername(user.username),
      [this.fields.password]: user.passwordHash && this.#marked(user.passwordHash),
      ...this.flagValues(user.disabled),
      [this.fields.roles]: this.#rolesValue(user.roles),
      [this.fields.tokensValidAfter]: user.tokensValidAfter,
    };
  }

  flagValues(disabled: boolean): Record<string, unknown> {
    return this.#flag.values(disabled);
  }

  /** A new document for the user. */
  document(user: User): UserDocument {
    const document: UserDocument = { _id: this.ids.write(user.id) };
    for (const [path, value] of Object.entries(this.values(user))) {
      if (value === undefined) continue;
      const keys = path.split(".");
      const last = keys.pop() ?? path;
      const parent = keys.reduce<Document>(
        (nested, key) => (nested[key] ??= {}) as Document,
        document,
      );
      parent[last] = value;
    }
    return document;
  }
}

const lookupIn =
  (document: Document): Lookup =>
  (path) =>
    at(document, path);

const saltText = (salt: unknown) => hashText(salt) ?? "";

const collations: Readonly<Record<UsernameMatch, CollationOptions | undefined>> = {
  exact: undefined,
  "ignore-case": { locale: "en", strength: 2 },
  "ignore-case-and-accents": { locale: "en", strength: 1 },
};

const ones = (paths: readonly string[]) =>
  Object.fromEntries(paths.map((path) => [path, 1] as const));

/** MongoDB's projections allow neither positions in lists nor a path inside another one. */
function projectionOf(paths: readonly string[]): Record<string, 1> {
  const whole = paths.map((path) => path.replace(/\.\d+(\..*)?$/, ""));
  return ones(whole.filter((path) => !whole.some((other) => path.startsWith(`${other}.`))));
}

/** An update that sets each value, and unsets the paths whose value is undefined; undefined if there are no paths. */
export function toUpdate(values: Readonly<Record<string, unknown>>): Document | undefined {
  const entries = Object.entries(values);
  const set = entries.filter(([, value]) => value !== undefined);
  const unset = entries.filter(([, value]) => value === undefined).map(([path]) => path);
  if (entries.length === 0) return undefined;
  return {
    ...(set.length > 0 && { $set: Object.fromEntries(set) }),
    ...(unset.length > 0 && { $unset: ones(unset) }),
  };
}
