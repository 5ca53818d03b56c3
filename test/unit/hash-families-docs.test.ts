/** docs/hash-families.md is the table itself. `UPDATE_GOLDEN=1 npm test -- hash-families-docs` writes it. */
import { readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { familiesTable } from "../../src/auth/passwords/families.js";

const file = new URL("../../docs/hash-families.md", import.meta.url);
const text = `# Password hashes

What Latchkey can check, so that nobody needs a new password. Salt and digest are \`…\`. A hash that costs
more than its family may, and one that is in no row, is refused by \`users import\`, named by \`doctor\`, and
at login is a failed login like any other. New hashes are argon2id with m=19456, t=2, p=1. Plain text,
\`{noop}\` included, is none. \`!…\` and \`*\`, of Django and crypt(3), say that a user has no password: he is
imported, and counted by \`doctor\` among those without one.

${familiesTable()}

The ceilings of the last column are looked at before anything is computed. They are above what every one of
these systems writes by default: argon2 has Ory Kratos's 128 MiB, scrypt the first choice of OWASP, PBKDF2
a third more than Django 6.1, bcrypt four times the work of 12. So one hash takes 128 MiB at most, given back when
it is done, and not much longer than bcrypt of cost 14, about a second of one core. \`HASH_CONCURRENCY\` of them
run at once. At bcrypt of cost 15 a single guess would hold a core for more than two seconds, and nobody's
default is above 12: lower the cost at the old server and let its users log in there once before the cut-over.

bcrypt counts the first 72 bytes of a password, as the server that made the hash did; whoever has a longer
one keeps his hash.
`;

test("the documented families are those of the table", () => {
  if (process.env["UPDATE_GOLDEN"]) writeFileSync(file, text);
  expect(readFileSync(file, "utf8")).toBe(text);
});
