/**
 * The table of hash families, used by verification, import, `doctor` and the documentation. The first row that
 * recognises a hash is its family. Plain text has none, not even with `{noop}`.
 */
import { argon2Families } from "./argon2.js";
import { bcryptFamilies } from "./bcrypt.js";
import { cryptFamilies } from "./crypt.js";
import { digestFamilies } from "./digest.js";
import { type HashFamily, HashRefusal } from "./family.js";
import { formatFamily, knownFormats } from "./format.js";
import { meteorFamilies } from "./meteor.js";
import { pbkdf2Families } from "./pbkdf2.js";
import { scryptFamilies } from "./scrypt.js";

const markedFamilies: readonly HashFamily[] = [
  ...argon2Families,
  ...bcryptFamilies,
  ...meteorFamilies,
  ...scryptFamilies,
  ...pbkdf2Families,
  ...cryptFamilies,
  ...digestFamilies,
];

export const families: readonly HashFamily[] = [
  ...markedFamilies,
  formatFamily((encoded) => {
    const family = markedFamilies.find(({ prefix }) => prefix.test(encoded));
    if (family === undefined) throw new HashRefusal("unusable", "not in a known hash format");
    return family.parse(encoded);
  }),
];

/** Common notations of USERS_PASSWORD_FORMAT as a Markdown table. */
export function formatsTable(): string {
  const more = [
    ["NodeBB", "marked over=sha512-hex"],
    ["Flask-Security", "marked over=hmac-sha512-base64"],
    ["Devise with a pepper", "marked mix=password+pepper"],
  ] as const;
  const rows = [...knownFormats, ...more].map(([who, notation]) => `| ${who} | \`${notation}\` |`);
  return ["| written by | `USERS_PASSWORD_FORMAT` |", "|---|---|", ...rows].join("\n");
}

/** The families as a Markdown table. */
export function familiesTable(): string {
  const rows = families.map(
    ({ name, form, source, ceiling }) => `| ${name} | \`${form}\` | ${source} | ${ceiling} |`,
  );
  return ["| family | form | written by | at most |", "|---|---|---|---|", ...rows].join("\n");
}
