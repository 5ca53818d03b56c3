/** docs/hash-families.md is the table itself. `UPDATE_GOLDEN=1 npm test -- hash-families-docs` writes it. */
import { readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { familiesTable } from "../../src/auth/passwords/families.js";

const file = new URL("../../docs/hash-families.md", import.meta.url);
const text = `# Password hashes

What Latchkey can check, so that nobody needs a new password. Salt and digest are \`…\`. A hash that costs
more than its family may, and one that is in no row, is refused by \`users import\`, named by \`doctor\`, and
at login is a failed login like any other. New hashes are argon2id with m=19456, t=2, p=1. Plain text,
\`{noop}\` included, is none.

${familiesTable()}

bcrypt counts the first 72 bytes of a password, as the server that made the hash did; whoever has a longer
one keeps his hash.
`;

test("the documented families are those of the table", () => {
  if (process.env["UPDATE_GOLDEN"]) writeFileSync(file, text);
  expect(readFileSync(file, "utf8")).toBe(text);
});
