/**
 * The table of hash families, which verification, import, `doctor` and the documentation all read.
 */
import { argon2Families } from "./argon2.js";
import { bcryptFamilies } from "./bcrypt.js";
import type { HashFamily } from "./family.js";

export const families: readonly HashFamily[] = [...argon2Families, ...bcryptFamilies];
