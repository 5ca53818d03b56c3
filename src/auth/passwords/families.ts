/**
 * The table of hash families, which verification, import, `doctor` and the documentation all read.
 * The first row that recognises a hash is its family. Plain text, `{noop}` included, is none.
 */
import { argon2Families } from "./argon2.js";
import { bcryptFamilies } from "./bcrypt.js";
import { cryptFamilies } from "./crypt.js";
import { digestFamilies } from "./digest.js";
import type { HashFamily } from "./family.js";
import { meteorFamilies } from "./meteor.js";
import { pbkdf2Families } from "./pbkdf2.js";
import { scryptFamilies } from "./scrypt.js";

export const families: readonly HashFamily[] = [
  ...argon2Families,
  ...bcryptFamilies,
  ...meteorFamilies,
  ...scryptFamilies,
  ...pbkdf2Families,
  ...cryptFamilies,
  ...digestFamilies,
];

/** The table as Markdown. */
export function familiesTable(): string {
  const rows = families.map(
    ({ name, form, source, ceiling }) => `| ${name} | \`${form}\` | ${source} | ${ceiling} |`,
  );
  return ["| family | form | written by | at most |", "|---|---|---|---|", ...rows].join("\n");
}
