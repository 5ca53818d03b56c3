/**
 * How each framework keeps its users in MongoDB: the table behind `USERS_PRESET`. Depends on the domain's
 * hash encodings and usernames.
 */
import {
  betterAuthHash,
  meteorArgon2Hash,
  meteorHash,
  passportLocalMongooseHash,
  payloadHash,
} from "../auth/passwords/encodings.js";
import { usernameKeyOf, type UsernameKey, type UsernameMatch } from "../auth/usernames.js";

/** A field that may hold the hash. */
export interface HashSource {
  /** Path of the hash; absent: `USERS_PASSWORD_FIELD`. */
  readonly path?: string;
  /** Path of a salt kept in a field of its own, without which the hash cannot be used. */
  readonly salt?: string;
  /** Returns hash and salt as one string that a hash family recognises. */
  readonly encode: (hash: string, salt: string) => string;
}

/** Where the documents have their password hashes. */
export interface HashLayout {
  /** Whether Latchkey marks the hashes that it stores, because `USERS_PASSWORD_FORMAT` would apply to them too. */
  readonly marksOwn?: boolean;
  /** The first field that has a hash counts. The others are removed when Latchkey writes one. */
  readonly sources: readonly [HashSource, ...HashSource[]];
  /** Set if the hashes are in a collection of their own. */
  readonly collection?: {
    readonly name: string;
    /** The field with the user's `_id`. */
    readonly userId: string;
    /** Fields, with their values, that tell the documents with hashes from the others. */
    readonly filter: Readonly<Record<string, string>>;
  };
}

export interface Preset {
  /** Defaults of variables, as text. */
  readonly variables: Readonly<Record<string, string>>;
  readonly hash?: HashLayout;
  /** The case into which the framework converts a name before it looks it up. */
  readonly usernameCase?: "lower" | "upper";
  /** Whether the framework trims a name before it looks it up. */
  readonly trimsUsername?: boolean;
  /** Whether the framework accepts a name in another case, if no other user has it. */
  readonly findsOtherCase?: boolean;
  /** Set if the index on the name covers strings only: MongoDB uses it only for queries on strings. */
  readonly indexesStringsOnly?: boolean;
  /** The separator of roles that are kept in one string. */
  readonly rolesSeparator?: string;
}

/** The byte orders of UUIDs in MongoDB's binary subtype 3: each of the old drivers had its own. */
export const legacyUuidOrders = ["java", "csharp", "python"] as const;
export type LegacyUuidOrder = (typeof legacyUuidOrders)[number];

export const plainHash: HashLayout = { sources: [{ encode: (hash) => hash }] };
const hashWithSalt = (encode: HashSource["encode"]): HashLayout => ({
  sources: [{ salt: "salt", encode }],
});

export const presets = {
  meteor: {
    variables: {
      USERS_COLLECTION: "users",
      USERS_USERNAME_FIELD: "username",
      USERS_PASSWORD_FIELD: "services.password.bcrypt",
      USERS_DISABLED_FIELD: "active=false",
      USERS_ROLES_FIELD: "roles",
    },
    hash: {
      sources: [
        { encode: meteorHash },
        { path: "services.password.argon2", encode: meteorArgon2Hash },
      ],
    },
    findsOtherCase: true,
  },
  "parse-server": {
    variables: {
      USERS_COLLECTION: "_User",
      USERS_USERNAME_FIELD: "username",
      USERS_PASSWORD_FIELD: "_hashed_password",
      USERS_DISABLED_FIELD: "disabled,_account_lockout_expires_at>now",
      USERS_TOKENS_VALID_AFTER_FIELD: "_password_changed_at",
    },
  },
  "passport-local-mongoose": {
    variables: {
      USERS_COLLECTION: "users",
      USERS_USERNAME_FIELD: "username",
      USERS_PASSWORD_FIELD: "hash",
    },
    hash: hashWithSalt(passportLocalMongooseHash),
  },
  payload: {
    variables: {
      USERS_COLLECTION: "users",
      USERS_USERNAME_FIELD: "email",
      USERS_PASSWORD_FIELD: "hash",
      USERS_DISABLED_FIELD: "disabled,lockUntil>now,_verified=false",
    },
    hash: hashWithSalt(payloadHash),
    usernameCase: "lower",
  },
  "better-auth": {
    variables: {
      USERS_COLLECTION: "user",
      USERS_USERNAME_FIELD: "email",
      USERS_PASSWORD_FIELD: "password",
      USERS_DISABLED_FIELD: "banned&!banExpires<now",
      USERS_ROLES_FIELD: "role",
    },
    hash: {
      sources: [{ encode: betterAuthHash }],
      collection: { name: "account", userId: "userId", filter: { providerId: "credential" } },
    },
    usernameCase: "lower",
    rolesSeparator: ",",
  },
  spring: {
    variables: {
      USERS_COLLECTION: "users",
      USERS_USERNAME_FIELD: "username",
      USERS_PASSWORD_FIELD: "password",
      USERS_DISABLED_FIELD:
        "!enabled,accountNonLocked=false;accountNonExpired=false;credentialsNonExpired=false",
      USERS_LEGACY_UUID: "java",
      USERS_ROLES_FIELD: "authorities",
    },
  },
  django: {
    variables: {
      USERS_COLLECTION: "auth_user",
      USERS_USERNAME_FIELD: "username",
      USERS_PASSWORD_FIELD: "password",
      USERS_DISABLED_FIELD: "!is_active",
    },
    indexesStringsOnly: true,
  },
  "aspnet-identity": {
    variables: {
      USERS_COLLECTION: "Users",
      USERS_USERNAME_FIELD: "NormalizedUserName",
      USERS_PASSWORD_FIELD: "PasswordHash",
      USERS_DISABLED_FIELD: "LockoutEnd>now&!LockoutEnabled=false",
      USERS_LEGACY_UUID: "csharp",
      USERS_ROLES_FIELD: "Roles",
    },
    usernameCase: "upper",
  },
  devise: {
    variables: {
      USERS_COLLECTION: "users",
      USERS_USERNAME_FIELD: "email",
      USERS_PASSWORD_FIELD: "encrypted_password",
      USERS_DISABLED_FIELD:
        "locked_at:date,deleted_at:date,!confirmed_at:date&confirmation_sent_at:date",
    },
    usernameCase: "lower",
    trimsUsername: true,
  },
} as const satisfies Record<string, Preset>;

export type PresetName = keyof typeof presets;

/** The preset of that name, or undefined. */
export function presetOf(name: string | undefined): Preset | undefined {
  return name !== undefined && Object.hasOwn(presets, name)
    ? presets[name as PresetName]
    : undefined;
}

interface NameSettings {
  readonly USERNAME_MATCH: UsernameMatch;
  readonly USERS_PRESET: PresetName | undefined;
}

/** Returns a function that maps every spelling that finds the same user to one key. */
export function usernameKeyFor(config: NameSettings): UsernameKey {
  const key = ownUsernameKeyFor(config);
  if (presetOf(config.USERS_PRESET)?.findsOtherCase !== true) return key;
  return (username) => key(username.toLowerCase());
}

/** The same, but two users never share a key: spellings that find another user if there is one keep their own. */
export function ownUsernameKeyFor({ USERNAME_MATCH, USERS_PRESET }: NameSettings): UsernameKey {
  const preset = presetOf(USERS_PRESET);
  const key = usernameKeyOf(USERNAME_MATCH);
  return (username) => {
    const name = preset?.trimsUsername ? username.trim() : username;
    return key(preset?.usernameCase === undefined ? name : name.toLowerCase());
  };
}
