/**
 * Converts the users in exports of other systems for `users import`. Depends on the domain's hash encodings, the
 * configuration and, for MongoDB's exports, the store.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import {
  auth0Hash,
  firebaseHash,
  keycloakHash,
  type Auth0Hash,
  type FirebaseHashConfig,
} from "../../auth/passwords/encodings.js";
import { formatEncoder } from "../../auth/passwords/format.js";
import type { User } from "../../auth/users.js";
import type { Config } from "../../config/config.js";
import { checkHash, readFields, readObject, readUser, type ImportedUser } from "./lines.js";
import type { ImportFormatName } from "./objects.js";
import { CliError } from "../terminal.js";
import { FieldFault, readRoles, readText } from "../users/fields.js";

export interface ImportFormat {
  /** The member that holds the users, if the file is an object or a list of such objects. */
  readonly member?: string;
  /** @throws FieldFault */
  readonly read: (bytes: Uint8Array) => ImportedUser;
}

type Fields = Readonly<Record<string, unknown>>;

/** Returns a reader that converts another system's user to the fields of Latchkey's. */
const fieldsReader = (toFields: (user: Fields) => Fields) => (bytes: Uint8Array) =>
  readFields(toFields(readObject(bytes)));

const optional = (fields: Fields) =>
  Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined && value !== null),
  );

const text = (value: unknown) => (typeof value === "string" && value !== "" ? value : undefined);
const object = (value: unknown): Fields =>
  typeof value === "object" && value !== null ? (value as Fields) : {};
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

/** Reads Latchkey's own lines. Hashes that do not name their format are in USERS_PASSWORD_FORMAT. */
function ownReader({ USERS_PASSWORD_FORMAT: format, USERS_PASSWORD_PEPPER: pepper }: Config) {
  if (format === undefined) return readUser;
  const encode = formatEncoder(format, pepper);
  return fieldsReader(({ [format.saltField ?? ""]: salt, ...fields }) => {
    const hash = text(fields["passwordHash"]);
    return hash ? { ...fields, passwordHash: encode(hash.trim(), text(salt) ?? "") } : fields;
  });
}

/** Converts users of the export with hashes, which Auth0 makes on request, and of its bulk import file. */
function fromAuth0(user: Fields): Fields {
  const username = user["username"] ?? user["email"];
  return optional({
    _id: user["user_id"] ?? user["_id"] ?? auth0IdFor(username),
    username,
    passwordHash:
      user["passwordHash"] ?? user["password_hash"] ?? customHash(user["custom_password_hash"]),
    disabled: user["blocked"],
    roles: object(user["app_metadata"])["roles"],
  });
}

function customHash(custom: unknown): string | undefined {
  if (custom === undefined) return undefined;
  const fault = (reason: string) => new FieldFault("custom_password_hash", reason);
  let hash: string | undefined;
  try {
    hash = auth0Hash(custom as Auth0Hash);
  } catch {
    throw fault("is not of Auth0's form");
  }
  if (hash === undefined) throw fault("is of an algorithm or encoding that cannot be checked here");
  return hash;
}

/**
 * An id for a user of a bulk import file without one, in the form of Auth0's ids. It is the same in every import, so
 * that an interrupted one can be continued.
 */
function auth0IdFor(username: unknown): string | undefined {
  if (typeof username !== "string") return undefined;
  return `auth0|${createHash("sha256").update(username).digest("hex").slice(0, 24)}`;
}

/** Converts users of `firebase auth:export users.json --format=json`. */
function fromFirebase(user: Fields, config: FirebaseHashConfig | undefined): Fields {
  const hash = text(user["passwordHash"]);
  if (hash !== undefined && config === undefined) {
    throw new FieldFault("passwordHash", "needs the parameters of the project: --firebase-config");
  }
  const salt = text(user["salt"]) ?? "";
  return optional({
    _id: user["localId"],
    username: user["email"],
    passwordHash: hash && config && firebaseHash(hash, salt, config),
    disabled: user["disabled"],
  });
}

/** Converts users of a realm's export, or of a list of realms. */
function fromKeycloak(user: Fields): Fields {
  if (user["realm"] !== undefined) throw new FieldFault("users", "is missing in this realm");
  const password = list(user["credentials"])
    .map(object)
    .find(({ type }) => type === "password");
  const credentialData = text(password?.["credentialData"]);
  const secretData = text(password?.["secretData"]);
  const hash = credentialData && secretData && keycloakHash(credentialData, secretData);
  if (password && hash === undefined) throw new FieldFault("credentials", "cannot be read");
  return optional({
    _id: user["id"],
    username: user["username"],
    passwordHash: hash,
    disabled: user["enabled"] === undefined ? undefined : user["enabled"] !== true,
    roles: user["realmRoles"],
  });
}

/** Converts users of `aws cognito-idp list-users`, which has no hashes: Cognito does not export them. */
function fromCognito(user: Fields): Fields {
  const attributes = list(user["Attributes"]).map(object);
  return optional({
    _id: attributes.find(({ Name }) => Name === "sub")?.["Value"],
    username: user["Username"],
    disabled: user["Enabled"] === undefined ? undefined : user["Enabled"] !== true,
  });
}

/**
 * The reader of a format.
 * @param firebaseConfig path of a file with the project's hash parameters, as the console shows them
 * @throws CliError
 */
export async function importFormatOf(
  name: ImportFormatName,
  firebaseConfig: string | undefined,
  config: Config,
): Promise<ImportFormat> {
  switch (name) {
    case "latchkey":
      return { read: ownReader(config) };
    case "auth0":
      return { read: fieldsReader(fromAuth0) };
    case "keycloak":
      return { member: "users", read: fieldsReader(fromKeycloak) };
    case "cognito":
      return { member: "Users", read: fieldsReader(fromCognito) };
    case "firebase": {
      const parameters =
        firebaseConfig === undefined ? undefined : await readFirebaseConfig(firebaseConfig);
      return { member: "users", read: fieldsReader((user) => fromFirebase(user, parameters)) };
    }
    case "mongodb": {
      const { readExportedUser } = await import("../../store/open-store.js");
      const read = await readExportedUser(config);
      return {
        read: (bytes) => {
          const record = read(readObject(bytes));
          if (record === undefined) throw new FieldFault(undefined, "is malformed Extended JSON");
          const { user, fault, hashFault, notes } = record;
          if (user === undefined) throw new FieldFault(undefined, `has ${fault?.reason}`);
          if (hashFault !== undefined)
            throw new FieldFault("passwordHash", `is lost: ${hashFault}`);
          return { ...checked(user), notes };
        },
      };
    }
  }
}

/** Checks a user that the field mapping has read like any other. @throws FieldFault */
function checked(user: User): ImportedUser {
  readText("username", user.username);
  readRoles(user.roles);
  return { user, hashFamily: checkHash(user.passwordHash), unknownFields: [] };
}

/** Reads `hash_config { algorithm: SCRYPT, base64_signer_key: …, … }`, as the console shows it, or the same in JSON. */
async function readFirebaseConfig(path: string): Promise<FirebaseHashConfig> {
  const content = await readFile(path, "utf8").catch((error: unknown) => {
    throw new CliError("file_unreadable", `cannot read ${path}: ${(error as Error).message}`);
  });
  const value = (name: string) =>
    new RegExp(`["']?\\b${name}["']?\\s*:\\s*["']?([\\w+/=-]+)`).exec(content)?.[1];
  const [rounds, memCost] = [Number(value("rounds")), Number(value("mem_cost"))];
  const saltSeparator = value("base64_salt_separator");
  const signerKey = value("base64_signer_key");
  if (!rounds || !memCost || saltSeparator === undefined || signerKey === undefined) {
    const names = "base64_signer_key, base64_salt_separator, rounds and mem_cost";
    throw new CliError("firebase_config", `${path} does not have ${names}`);
  }
  return { rounds, memCost, saltSeparator, signerKey };
}
