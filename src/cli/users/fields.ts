/**
 * Reads and checks the fields of a user that operators and import files write: form, limits, and Extended
 * JSON for ids. Depends on the domain's users and limits.
 */
import { passwordBytesMax } from "../../auth/limits.js";
import { toUserId, type UserId } from "../../auth/users.js";
import { CliError } from "../terminal.js";

/** A field is not acceptable. `reason` completes the sentence "FIELD …" and quotes no value. */
export class FieldFault extends Error {
  override readonly name = "FieldFault";
  readonly field: string | undefined;
  readonly reason: string;

  constructor(field: string | undefined, reason: string) {
    super(field === undefined ? reason : `${field} ${reason}`);
    this.field = field;
    this.reason = reason;
  }
}

/** Turns a `FieldFault` of an argument into an error of usage, exit code 2. @throws CliError */
export function usage<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof FieldFault) throw new CliError("usage", error.message, 2);
    throw error;
  }
}

const textCodePointsMax = 256;
/** Every token carries the roles, and a token of more than 8 KiB is not accepted for renewal. */
const rolesBytesMax = 2048;

/** @throws FieldFault */
export function readText(field: string, value: unknown): string {
  if (value === undefined) throw new FieldFault(field, "is missing");
  if (typeof value !== "string") throw new FieldFault(field, "is not a string");
  if (value === "") throw new FieldFault(field, "is empty");
  if (Array.from(value).length > textCodePointsMax) {
    throw new FieldFault(field, `is longer than ${textCodePointsMax} characters`);
  }
  if (!value.isWellFormed()) throw new FieldFault(field, "is not well-formed Unicode");
  if (/\p{Cc}/u.test(value)) throw new FieldFault(field, "holds a control character");
  return value;
}

/** @throws FieldFault */
export function readRoles(value: unknown): readonly string[] {
  if (!Array.isArray(value)) throw new FieldFault("roles", "is not a list of strings");
  const roles = value.map((role) => readText("roles", role));
  if (Buffer.byteLength(JSON.stringify(roles)) > rolesBytesMax) {
    throw new FieldFault("roles", `is longer than ${rolesBytesMax} bytes of JSON`);
  }
  return roles;
}

/** The forms of a boolean, including those of MySQL and its tools. */
const flags: ReadonlyMap<unknown, boolean> = new Map<unknown, boolean>([
  ...[true, 1, "1", "true"].map((value) => [value, true] as const),
  ...[false, 0, "0", "false"].map((value) => [value, false] as const),
]);

/** @throws FieldFault */
export function readFlag(field: string, value: unknown): boolean {
  const flag = flags.get(value);
  if (flag === undefined) throw new FieldFault(field, "is neither true nor false");
  return flag;
}

/** Reads a time as `users export` writes it. @throws FieldFault */
export function readInstant(field: string, value: unknown): Date | undefined {
  if (value === undefined || value === null) return undefined;
  const isDate = typeof value === "string" && /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value);
  const time = isDate ? Date.parse(value) : NaN;
  if (Number.isNaN(time)) throw new FieldFault(field, "is not a time such as 2026-01-31T12:00:00Z");
  return new Date(time);
}

/** @throws FieldFault */
export function checkNewPassword(password: string, codePointsMin: number): void {
  const refuse = (reason: string) => new FieldFault("password", reason);
  if (Array.from(password).length < codePointsMin) {
    throw refuse(`is shorter than ${codePointsMin} characters (PASSWORD_MIN_LENGTH)`);
  }
  if (Buffer.byteLength(password) > passwordBytesMax) {
    throw refuse(`is longer than ${passwordBytesMax} bytes`);
  }
  if (password.includes("\0")) throw refuse("holds a NUL");
  if (!password.isWellFormed()) throw refuse("is not well-formed Unicode");
}

/** Readers of an `_id` in MongoDB's Extended JSON v2, by key. They return undefined for a malformed one. */
const wrappers = {
  $numberInt: (value) => int(value, 32n),
  $numberLong: (value) => int(value, 64n),
  $oid: (value) => toUserId("objectid", lower(value)),
  $uuid: (value) => toUserId("uuid", lower(value)),
  /** Latchkey's own: a UUID that MongoDB is to keep in its old binary subtype 3. */
  $legacyUuid: (value) => toUserId("legacyuuid", lower(value)),
  $binary: (value) => {
    const { base64, subType, ...rest } = value as Record<string, unknown>;
    const isUuid = typeof base64 === "string" && /^0?4$/.test(String(subType));
    if (!isUuid || Object.keys(rest).length > 0) return undefined;
    const bytes = Buffer.from(base64, "base64");
    if (bytes.toString("base64") !== base64) return undefined;
    const hex = bytes.toString("hex");
    return toUserId("uuid", hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"));
  },
} as const satisfies Record<string, (value: unknown) => UserId | undefined>;

const lower = (value: unknown) => (typeof value === "string" ? value.toLowerCase() : "");

function int(value: unknown, bits: 32n | 64n): UserId | undefined {
  const id = typeof value === "string" ? toUserId("int", value) : undefined;
  return id && BigInt.asIntN(Number(bits), BigInt(id.value)) === BigInt(id.value) ? id : undefined;
}

/**
 * Reads an `_id` in JSON: an integer, a string, or MongoDB's Extended JSON of an integer, ObjectId or UUID.
 * @throws FieldFault
 */
export function readId(value: unknown): UserId {
  if (typeof value === "number") {
    if (Number.isSafeInteger(value)) return { type: "int", value: String(value) };
    throw new FieldFault(
      "_id",
      Number.isInteger(value) ? "is beyond 2^53: write it as $numberLong" : "is not an integer",
    );
  }
  if (typeof value !== "object" || value === null) {
    return { type: "string", value: readText("_id", value ?? undefined) };
  }
  const [entry, ...others] = Object.entries(value) as [string, unknown][];
  const wrapper = entry && others.length === 0 && Object.hasOwn(wrappers, entry[0]);
  const id = wrapper ? wrappers[entry[0] as keyof typeof wrappers](entry[1] ?? {}) : undefined;
  if (id) return id;
  throw new FieldFault("_id", "is neither an integer, a string, an ObjectId nor a UUID");
}

/** Writes an `_id` in the form that `readId` reads. */
export function writeId({ type, value }: UserId): unknown {
  switch (type) {
    case "int":
      return Number.isSafeInteger(Number(value)) ? Number(value) : { $numberLong: value };
    case "string":
      return value;
    case "objectid":
      return { $oid: value };
    case "uuid":
      return { $uuid: value };
    case "legacyuuid":
      return { $legacyUuid: value };
  }
}
