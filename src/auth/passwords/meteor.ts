/**
 * Meteor's hashes: bcrypt or argon2 of the SHA-256 that its client sends. They look like plain ones, so
 * encodings.ts puts a prefix before them.
 */
import { argon2Families } from "./argon2.js";
import { bcryptFamilies, sha256Hex } from "./bcrypt.js";
import { type HashFamily, prehashed } from "./family.js";

export const meteorFamilies = [...bcryptFamilies.slice(0, 1), ...argon2Families.slice(0, 1)].map(
  (inner): HashFamily => ({
    name: `${inner.name}-sha256 (Meteor)`,
    form: `{meteor}${inner.form}`,
    source: "Meteor, Rocket.Chat",
    ceiling: inner.ceiling,
    prefix: new RegExp(`^\\{meteor\\}\\$${inner.name === "bcrypt" ? "2[aby]" : inner.name}\\$`),
    parse: (encoded) => prehashed(inner.parse(encoded), sha256Hex),
  }),
);
