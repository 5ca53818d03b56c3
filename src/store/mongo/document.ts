/**
 * What a document of the users collection means, and how a user is written into one. Depends on
 * mongodb's BSON types, the domain's users and the layouts of the presets.
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

/** The paths, dotted where nested, of what we know of a user. */
export interface UserFields {
  readonly username: string;
  readonly password: string;
  /** Of the forms that `parseDisabledFlag` reads. */
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

/** The keys under which a role that is an object has its name. */
const roleNames = ["authority", "role", "name", "_id"];

/** The roles that can be read, and whether there are others. */
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

/** A login refuses a longer one before it looks for it. */

/** A hash may be stored as bytes, and have blanks or the padding of a CHAR column around it. */
function hashText(value: unknown): string | undefined {
  if (typeof value === "string") return value.trim();
  if (value instanceof Binary && value.sub_type === Binary.SUBTYPE_DEFAULT) {
    return value.toString("utf8").replace(/^[\0\s]+|[\0\s]+$/g, "");
  }
  return undefined;
}

/** How usernames are compared and what a framework makes of one before it looks for it. */
export interface UsernameRule {
  readonly match?: UsernameMatch;
  readonly case?: "lower" | "upper" | undefined;
  /** Whether blanks around a name do not count. */
  readonly trimmed?: boolean | undefined;
  /** Whether a name that nobody has finds the one user whose name differs by case. */
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

export class UserMapping {
  readonly fields: UserFields;
  /** The mapped fields and nothing else. */
  readonly projection: Readonly<Record<string, 1>>;
  /** The same without the hash. */
  readonly accountProjection: Readonly<Record<string, 1>>;
  /** The same of the collection that the hashes are in. */
  readonly hashProjection: Readonly<Record<string, 1>>;
  readonly hash: HashLayout;
  readonly usernameKey: UsernameKey;
  /** What MongoDB is to compare usernames by, undefined for its own, byte by byte. */
  readonly collation: CollationOptions | undefined;
  /** The path that an index on the username has: a list's whole, where the name is at a place in one. */
  readonly indexPath: string;
  readonly ids: UserIds;
  readonly findsOtherCase: boolean;
  /** What has to be read to tell whether a user is disabled. */
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

  /** What to ask MongoDB for: a collation need not know that two Unicode forms are one. */
  queriedUsername(username: string): string {
    const asked = this.askedUsername(username);
    return this.collation ? asked.normalize("NFC") : asked;
  }

  /** The filter for names of that condition. It finds names within a list too, which are nobody's. */
  nameFilter(condition: Document): Document {
    const { username } = this.fields;
    return {
      // The index is on the list, whose every element it has; the place in it is looked at then.
      ...(this.indexPath !== username && { [this.indexPath]: condition }),
      [username]: this.#rule.indexesStringsOnly ? { ...condition, $type: "string" } : condition,
    };
  }

  /** The name as the framework would look for it. */
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

  /** The hash in a document that holds one. */
  passwordHash(document: Document): string | undefined {
    return this.#readHash(document).hash;
  }

  /** The first hash that is there, or why it cannot be read. */
  #readHash(document: Document): { hash?: string; fault?: string } {
    for (const { path = this.fields.password, salt, encode } of this.hash.sources) {
      const stored = at(document, path);
      if (stored === undefined || stored === null || stored === "") continue;
      const hash = hashText(stored);
      if (hash === undefined) return { fault: `${path} is neither text nor bytes` };
      // A hash of ours needs no salt, and no other one is usable without.
      return { hash: encode(hash, salt === undefined ? "" : saltText(at(document, salt))) };
    }
    return {};
  }

  /** Undefined where there is none that is text. */
  usernameOf(document: Document): string | undefined {
    const username = at(document, this.fields.username);
    return typeof username === "string" ? username : undefined;
  }

  /** What a document must still have for its hash to be the one that was read. */
  hashFields(document: Document): Record<string, unknown> {
    return Object.fromEntries(this.#hashPaths().map((path) => [path, at(document, path) ?? null]));
  }

  /** The update that leaves `hash` as the only one. */
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

  /** What of a document matters to an import, be it a user of ours or not. */
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

  /** @param hashes where the hash is, if in another document. */
  user(document: Document, hashes: Document = document): User | undefined {
    const account = this.account(document);
    return account && { ...account, passwordHash: this.passwordHash(hashes) };
  }

  /** Undefined where the username is not a string or the `_id` is of a type without a subject. */
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

  /** What a login makes of a document, for the operator; whether its name is another's too is not looked at. */
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
            `a ${tokensValidAfter} that ${isReadableInstant(instant) ? "is still to come" : "is no point in time"}: they log in, but their tokens are refused when they come back`,
          ]
        : []),
    ];
  }

  /** Whether a change writes other fields depending on what the document has. */
  needsDocument({ disabled }: UserChange): boolean {
    return disabled !== undefined;
  }

  /** The update that makes a change, but for the hash; undefined where there is nothing to do. */
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

  /** Every value of a user by path; undefined where the user has none. */
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

/** A projection knows neither positions in lists nor a path within another. */
function projectionOf(paths: readonly string[]): Record<string, 1> {
  const whole = paths.map((path) => path.replace(/\.\d+(\..*)?$/, ""));
  return ones(whole.filter((path) => !whole.some((other) => path.startsWith(`${other}.`))));
}

/** Sets what has a value and unsets what has none; undefined where that is nothing. */
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
