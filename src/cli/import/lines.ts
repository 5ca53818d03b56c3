/**
 * Reads the lines of an import, and the user in each. Its memory does not grow with the file. Depends on the domain's
 * users, JSON and password hashes.
 */
import { parseJson } from "../../auth/json.js";
import { inspectHash, marksNoPassword } from "../../auth/passwords/passwords.js";
import type { UserToImport } from "../../auth/users.js";
import { FieldFault, readFlag, readId, readInstant, readRoles, readText } from "../users/fields.js";

export interface Line {
  /** Counted from 1, including blank lines. */
  readonly number: number;
  /** Without the line feed; undefined if the line is longer than `lineBytesMax`. */
  readonly bytes: Buffer | undefined;
}

const lineFeed = 0x0a;

export async function* readLines(
  chunks: AsyncIterable<Buffer>,
  lineBytesMax: number,
): AsyncGenerator<Line> {
  let parts: Buffer[] = [];
  let length = 0;
  let number = 0;
  const add = (part: Buffer) => {
    length += part.length;
    if (length > lineBytesMax) parts = [];
    else parts.push(part);
  };
  const take = (): Line => {
    const bytes = length > lineBytesMax ? undefined : Buffer.concat(parts);
    parts = [];
    length = 0;
    return { number: ++number, bytes: number === 1 ? bytes && withoutMark(bytes) : bytes };
  };
  for await (const chunk of chunks) {
    let start = 0;
    for (let end; (end = chunk.indexOf(lineFeed, start)) !== -1; start = end + 1) {
      add(chunk.subarray(start, end));
      yield take();
    }
    add(chunk.subarray(start));
  }
  if (length > 0) yield take();
}

/** Removes a byte order mark, with which Windows programs begin a file in UTF-8. */
function withoutMark(bytes: Buffer): Buffer {
  return bytes.subarray(0, 3).equals(Buffer.from("\ufeff")) ? bytes.subarray(3) : bytes;
}

export interface ImportedUser {
  readonly user: UserToImport;
  /** Undefined if there is no hash. */
  readonly hashFamily: string | undefined;
  readonly unknownFields: readonly string[];
  /** What of the record is left out or means something unexpected, each the end of "has …". */
  readonly notes?: readonly string[];
}

/**
 * Reads the user in a line.
 * @throws FieldFault
 */
export const readUser = (bytes: Uint8Array): ImportedUser => readFields(readObject(bytes));

/** @throws FieldFault */
export function readFields(fields: Readonly<Record<string, unknown>>): ImportedUser {
  const { _id, username, passwordHash, disabled, roles, tokensValidAfter, ...unknown } = fields;
  // A CHAR column pads its values with blanks, and some tools leave a newline at the end.
  const hash = typeof passwordHash === "string" ? passwordHash.trim() : (passwordHash ?? undefined);
  const hashFamily = checkHash(hash);
  const user: UserToImport = {
    id: readId(_id),
    username: readText("username", username),
    passwordHash: hash as string | undefined,
    disabled: disabled === undefined ? undefined : readFlag("disabled", disabled),
    roles: roles === undefined ? undefined : readRoles(roles),
    tokensValidAfter: readInstant("tokensValidAfter", tokensValidAfter),
  };
  return { user, hashFamily, unknownFields: Object.keys(unknown) };
}

/** @throws FieldFault */
export function readObject(bytes: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = parseJson(bytes);
  } catch {
    // The parser's own message would quote the line.
    throw new FieldFault(undefined, "is not JSON in UTF-8, or names a field twice");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new FieldFault(undefined, "is not a JSON object");
  }
  return value as Record<string, unknown>;
}

/** The family of the hash; undefined if there is no hash. @throws FieldFault if a login could not use it */
export function checkHash(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "string") throw new FieldFault("passwordHash", "is not a string");
  if (marksNoPassword(value)) return undefined;
  const { family, verdict, reason } = inspectHash(value);
  if (verdict === "ok") return family;
  const cause = [family, reason].filter((part) => part !== undefined).join(": ");
  const problem = verdict === "over_ceiling" ? "costs more than a login may" : "is not usable";
  throw new FieldFault("passwordHash", `${problem} (${cause})`);
}
