/**
 * What a document of the users collection means, and how a user is written into one. Depends on
 * mongodb's BSON types, the domain's users and the layouts of the presets.
 */
import { Binary, Long, ObjectId, UUID } from "mongodb";
import type { CollationOptions, Document } from "mongodb";
import { toUserId } from "../../auth/users.js";
import type { Account, User, UserChange, UserId } from "../../auth/users.js";
import { usernameKeyOf, type UsernameKey, type UsernameMatch } from "../../auth/usernames.js";
import { plainHash, type HashLayout } from "../../config/presets.js";
import { parseDisabledFlag, type DisabledFlag } from "./disabled-flag.js";
import type { Occupant } from "../import-plan.js";
import { toInstant } from "./instant.js";

/** The paths, dotted where nested, of what we know of a user. */
export interface UserFields {
  readonly username: string;
  readonly password: string;
  /** Of the forms that `parseDisabledFlag` reads. */
  readonly disabled: string;
  readonly roles: string;
  readonly tokensValidAfter: string;
}

export type DocumentId = number | Long | string | ObjectId | UUID;
export interface UserDocument extends Document {
  _id: DocumentId;
}

/** MongoDB compares numbers by value, so that an int finds 32-bit, 64-bit and floating-point ids. */
export function toDocumentId({ type, value }: UserId): DocumentId {
  switch (type) {
    case "int":
      return Number(value) === (Number(value) | 0) ? Number(value) : Long.fromString(value);
    case "string":
      return value;
    case "objectid":
      return new ObjectId(value);
    case "uuid":
      return new UUID(value);
  }
}

/** Undefined for an `_id` of a type that has no subject. */
export function toId(id: unknown): UserId | undefined {
  if (typeof id === "string") return toUserId("string", id);
  if (Number.isSafeInteger(id) || id instanceof Long) return toUserId("int", String(id));
  if (id instanceof ObjectId) return toUserId("objectid", id.toHexString());
  if (id instanceof Binary && id.sub_type === Binary.SUBTYPE_UUID && id.length() === 16) {
    return toUserId("uuid", id.toUUID().toHexString());
  }
  return undefined;
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
const roleNames = ["authority", "role", "name"];

function toRoles(value: unknown, separator: string | undefined): string[] {
  const roles: unknown[] = Array.isArray(value)
    ? value
    : typeof value === "string" && separator !== undefined
      ? value.split(separator).map((role) => role.trim())
      : [value];
  return roles
    .map((role) =>
      typeof role === "object" && role !== null
        ? roleNames.map((key) => (role as Document)[key] as unknown).find(isText)
        : role,
    )
    .filter(isText);
}

const isText = (value: unknown): value is string => typeof value === "string" && value !== "";

/** How usernames are compared and what a framework makes of one before it looks for it. */
export interface UsernameRule {
  readonly match?: UsernameMatch;
  readonly case: "lower" | "upper" | undefined;
  readonly indexesStringsOnly: boolean | undefined;
}

export interface MappingOptions {
  readonly fields: UserFields;
  readonly username?: UsernameRule;
  readonly hash?: HashLayout;
  readonly rolesSeparator?: string | undefined;
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
  /** A condition to add to every question for a name. */
  readonly nameCondition: Document;
  readonly #case: UsernameRule["case"];
  readonly #flag: DisabledFlag;
  readonly #rolesSeparator: string | undefined;

  constructor(options: MappingOptions) {
    const { fields, hash = plainHash, rolesSeparator } = options;
    const { match = "exact", case: nameCase, indexesStringsOnly } = options.username ?? {};
    this.fields = fields;
    this.hash = hash;
    this.usernameKey = usernameKeyOf(match);
    this.collation = collations[match];
    this.nameCondition = indexesStringsOnly ? { $type: "string" } : {};
    this.#case = nameCase;
    this.#flag = parseDisabledFlag(fields.disabled);
    this.#rolesSeparator = rolesSeparator;
    const { username, roles, tokensValidAfter } = fields;
    const paths = [username, this.#flag.path, roles, tokensValidAfter];
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

  /** The name as the framework would look for it. */
  askedUsername(username: string): string {
    if (this.#case === undefined) return username;
    return this.#case === "lower" ? username.toLowerCase() : username.toUpperCase();
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
    for (const { path = this.fields.password, salt, encode } of this.hash.sources) {
      const hash = at(document, path);
      const saltText = salt === undefined ? "" : at(document, salt);
      // A hash of ours needs none, and no other one is then usable.
      if (typeof hash === "string")
        return encode(hash, typeof saltText === "string" ? saltText : "");
    }
    return undefined;
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
    return { $set: { [password]: hash }, ...(others.length > 0 && { $unset: ones(others) }) };
  }

  /** What of a document matters to an import, be it a user of ours or not. */
  occupant(document: Document, hashes: Document = document): Occupant {
    const username = at(document, this.fields.username);
    return {
      id: toId(document["_id"]),
      username: typeof username === "string" ? username : undefined,
      passwordHash: this.passwordHash(hashes),
      hashFields: this.hashFields(hashes),
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
    const id = toId(document["_id"]);
    const username = at(document, this.fields.username);
    if (id === undefined || typeof username !== "string") return undefined;
    return {
      id,
      username,
      tokensValidAfter: toInstant(at(document, this.fields.tokensValidAfter)),
      disabled: this.#flag.isDisabled(at(document, this.#flag.path)),
      roles: toRoles(at(document, this.fields.roles), this.#rolesSeparator),
    };
  }

  /** The update that makes a change, but for the hash; undefined where there is nothing to do. */
  update({ disabled, roles, tokensValidAfter }: UserChange): Document | undefined {
    return toUpdate({
      ...(roles && { [this.fields.roles]: this.#rolesValue(roles) }),
      ...(disabled !== undefined && { [this.#flag.path]: this.#flag.valueFor(disabled) }),
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
      [this.fields.password]: user.passwordHash,
      [this.#flag.path]: this.#flag.valueFor(user.disabled),
      [this.fields.roles]: this.#rolesValue(user.roles),
      [this.fields.tokensValidAfter]: user.tokensValidAfter,
    };
  }

  /** A new document for the user. */
  document(user: User): UserDocument {
    const document: UserDocument = { _id: toDocumentId(user.id) };
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
