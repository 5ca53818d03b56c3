/**
 * What a document of the users collection means, and how a user is written into one. Depends on
 * mongodb's BSON types and the domain's users.
 */
import { Binary, Long, ObjectId, UUID } from "mongodb";
import type { Document } from "mongodb";
import { toUserId } from "../auth/users.js";
import type { User, UserChange, UserId } from "../auth/users.js";
import type { Occupant } from "./import-plan.js";

/** The paths, dotted where nested, of what we know of a user. */
export interface UserFields {
  readonly username: string;
  readonly password: string;
  /** With a leading `!` the flag means that the user is enabled. */
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
function toId(id: unknown): UserId | undefined {
  if (typeof id === "string") return toUserId("string", id);
  if (Number.isSafeInteger(id) || id instanceof Long) return toUserId("int", String(id));
  if (id instanceof ObjectId) return toUserId("objectid", id.toHexString());
  if (id instanceof Binary && id.sub_type === Binary.SUBTYPE_UUID && id.length() === 16) {
    return toUserId("uuid", id.toUUID().toHexString());
  }
  return undefined;
}

function at(document: Document, path: string): unknown {
  return path
    .split(".")
    .reduce<unknown>(
      (value, key) =>
        typeof value === "object" && value !== null ? (value as Document)[key] : undefined,
      document,
    );
}

/** An instant after every other: no token is later. */
const endOfTime = new Date(8.64e15);
const isoInstant = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/;
/** Smaller numbers of milliseconds lie before 1973: they are seconds, most likely. */
const millisecondsMin = 1e11;

/**
 * A date, milliseconds since 1970 or ISO 8601 with a zone. What cannot be read revokes every token:
 * a revocation that is there must not be overlooked.
 */
function toInstant(value: unknown): Date | undefined {
  if (value === undefined || value === null) return undefined;
  const isReadable =
    value instanceof Date ||
    (typeof value === "number" && (value === 0 || value >= millisecondsMin)) ||
    (typeof value === "string" && isoInstant.test(value));
  const instant = isReadable ? new Date(value) : endOfTime;
  return Number.isNaN(instant.getTime()) ? endOfTime : instant;
}

function toRoles(value: unknown): string[] {
  const roles: unknown[] = Array.isArray(value) ? value : [value];
  return roles.filter((role) => typeof role === "string");
}

export class UserMapping {
  readonly fields: UserFields;
  /** The mapped fields and nothing else. */
  readonly projection: Readonly<Record<string, 1>>;
  readonly #flag: string;
  readonly #flagMeansEnabled: boolean;

  constructor(fields: UserFields) {
    this.fields = fields;
    this.#flagMeansEnabled = fields.disabled.startsWith("!");
    this.#flag = fields.disabled.replace(/^!/, "");
    const paths = { ...fields, disabled: this.#flag };
    this.projection = Object.fromEntries(Object.values(paths).map((path) => [path, 1]));
  }

  /** What of a document matters to an import, be it a user of ours or not. */
  occupant(document: Document): Occupant {
    const username = at(document, this.fields.username);
    const passwordHash = at(document, this.fields.password);
    return {
      id: toId(document["_id"]),
      username: typeof username === "string" ? username : undefined,
      passwordHash: typeof passwordHash === "string" ? passwordHash : undefined,
      tokensValidAfter: toInstant(at(document, this.fields.tokensValidAfter)),
    };
  }

  /** Undefined where the username is not a string or the `_id` is of a type without a subject. */
  user(document: Document): User | undefined {
    const { id, username, ...rest } = this.occupant(document);
    if (id === undefined || username === undefined) return undefined;
    return {
      id,
      username,
      ...rest,
      disabled: this.#isDisabled(at(document, this.#flag)),
      roles: toRoles(at(document, this.fields.roles)),
    };
  }

  /**
   * Enabled is who has a flag of false, 0 or none at all; where the flag means enabled, who has true
   * or 1. Anything else, whatever it may mean, is disabled.
   */
  #isDisabled(flag: unknown): boolean {
    const enabled: unknown[] = this.#flagMeansEnabled ? [true, 1] : [undefined, null, false, 0];
    return !enabled.includes(flag);
  }

  /** The values of a change by path. */
  changed(change: UserChange): Record<string, unknown> {
    const values = {
      [this.fields.password]: change.passwordHash,
      [this.#flag]: change.disabled === undefined ? undefined : this.#toFlag(change.disabled),
      [this.fields.tokensValidAfter]: change.tokensValidAfter,
    };
    return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
  }

  /** Every value of a user by path; undefined where the user has none. */
  values(user: User): Record<string, unknown> {
    return {
      [this.fields.username]: user.username,
      [this.fields.password]: user.passwordHash,
      [this.#flag]: this.#toFlag(user.disabled),
      [this.fields.roles]: user.roles.length > 0 ? user.roles : undefined,
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

  #toFlag(disabled: boolean): boolean {
    return disabled !== this.#flagMeansEnabled;
  }
}
