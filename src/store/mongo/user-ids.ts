/**
 * Converts between a document's `_id` and the domain's user id. Depends on mongodb's BSON types and the
 * domain's users.
 */
import { Binary, Long, ObjectId, Timestamp, UUID } from "mongodb";
import { toUserId, type UserId } from "../../auth/users.js";
import type { LegacyUuidOrder } from "../../config/presets.js";

export type DocumentId = number | Long | string | ObjectId | Binary;

const uuidBytes = 16;
/** `Binary.SUBTYPE_UUID_OLD`, which the driver calls deprecated. */
const legacySubtype = 3;
const orders: Readonly<Record<LegacyUuidOrder, readonly number[]>> = {
  java: [7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8],
  csharp: [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15],
  python: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
};

/** Converts in both directions: each order is its own inverse. */
function inOrder(bytes: Uint8Array, order: LegacyUuidOrder): Buffer {
  return Buffer.from(orders[order].map((index) => bytes[index] ?? 0));
}

/** The driver's Timestamp is a Long, too, but MongoDB does not treat it as a number. */
const isLong = (id: unknown) => id instanceof Long && !(id instanceof Timestamp);

const isLegacyUuid = (id: unknown): id is Binary =>
  id instanceof Binary && id.sub_type === legacySubtype && id.length() === uuidBytes;

function legacyUuid(id: Binary, order: LegacyUuidOrder): string {
  return new UUID(inOrder(id.value(), order)).toHexString();
}

export class UserIds {
  readonly #legacyOrder: LegacyUuidOrder | undefined;

  /** @param legacyOrder byte order of UUIDs in binary subtype 3; without it they are not read as ids */
  constructor(legacyOrder?: LegacyUuidOrder) {
    this.#legacyOrder = legacyOrder;
  }

  /** The user id of an `_id`; undefined for a type that cannot be the subject of a token. */
  read(id: unknown): UserId | undefined {
    if (typeof id === "string") return toUserId("string", id);
    if (Number.isSafeInteger(id) || isLong(id)) return toUserId("int", String(id));
    if (id instanceof ObjectId) return toUserId("objectid", id.toHexString());
    if (isLegacyUuid(id)) {
      const order = this.#legacyOrder;
      return order && toUserId("legacyuuid", legacyUuid(id, order));
    }
    if (id instanceof Binary && id.sub_type === Binary.SUBTYPE_UUID && id.length() === uuidBytes) {
      return toUserId("uuid", id.toUUID().toHexString());
    }
    return undefined;
  }

  /**
   * The `_id` of a user id. MongoDB compares numbers by value, so an int finds 32-bit, 64-bit and
   * floating-point ids.
   */
  write({ type, value }: UserId): DocumentId {
    switch (type) {
      case "int":
        return Number(value) === (Number(value) | 0) ? Number(value) : Long.fromString(value);
      case "string":
        return value;
      case "objectid":
        return new ObjectId(value);
      case "uuid":
        return new UUID(value);
      case "legacyuuid":
        return new Binary(
          inOrder(new UUID(value).value(), this.#legacyOrder ?? "python"),
          legacySubtype,
        );
    }
  }
}

/** Says why an `_id` cannot be a user's. */
export function describeForeignId(id: unknown): string {
  if (id === undefined) return "no _id";
  if (id === "") return "an empty _id";
  if (isLegacyUuid(id)) return "a legacy UUID as _id (set USERS_LEGACY_UUID)";
  if (id instanceof Binary) return `an _id of binary subtype ${id.sub_type}`;
  if (typeof id === "number") return "a number that is no integer as _id";
  return "an _id of a type that has no subject";
}

/** An `_id` of any type as text for people; a legacy UUID in each byte order. */
export function showId(id: unknown): string {
  if (isLegacyUuid(id)) {
    return (["java", "csharp", "python"] as const)
      .map((order) => `${order} ${legacyUuid(id, order)}`)
      .join(", ");
  }
  if (id instanceof Binary) return `binary ${id.toString("hex")}`;
  return typeof id === "object" && id !== null && !(id instanceof ObjectId)
    ? JSON.stringify(id)
    : String(id);
}
