/** docs/hash-families.md is the table itself. `UPDATE_GOLDEN=1 npm test -- hash-families-docs` writes it. */
import { readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { families, familiesTable, formatsTable } from "../../src/auth/passwords/families.js";

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

In no row are DES crypt, MD4 and MySQL's own, nor yescrypt of other flavors than crypt(3) writes.

## Formats of one's own

A hash that carries no mark of itself is computed as \`USERS_PASSWORD_FORMAT\` tells: an algorithm, then
options. \`doctor\` names the notations that fit the shape of the hashes that it cannot place; a hash that a row
above recognises, and one that Latchkey wrote, goes its own way.

${formatsTable()}

- The algorithm: \`md5\`, \`sha1\`, \`sha224\`, \`sha256\`, \`sha384\`, \`sha512\`; \`pbkdf2-\` with one of them
  (\`iterations\`, \`bytes\`); \`scrypt\` (\`N\`, \`r\`, \`p\`, \`bytes\`); \`marked\`, where the stored hash says
  itself how it was made, as bcrypt does, of something else than the password.
- \`salt=FIELD\` is the salt's field beside the hash; \`layout=salt:hash\` or \`hash:salt\` says that both are in one
  text. \`salt-encoding\`: \`text\` (the default), \`hex\`, \`base64\`. \`encoding\` of the hash: \`hex\` or \`base64\`.
- \`mix\`: what is hashed, joined by \`+\`: \`password\`, \`salt\`, \`pepper\`, a text in quotes. A digest with a
  salt has \`salt+password\` unless told otherwise. \`rounds\`: how often the digest is taken.
- \`over\`: what the password is replaced by first: \`sha512-hex\`, or \`hmac-sha512-base64\` keyed with the pepper.
- \`pepper\` is the secret in \`USERS_PASSWORD_PEPPER\`, or in the file that \`USERS_PASSWORD_PEPPER_FILE\` names.
  It is never stored.

bcrypt counts the first 72 bytes of a password, as the server that made the hash did; whoever has a longer
one keeps his hash.
`;

test("the documented families are those of the table", () => {
  if (process.env["UPDATE_GOLDEN"]) writeFileSync(file, text);
  expect(readFileSync(file, "utf8")).toBe(text);
});

test("the changelog counts them", () => {
  const changelog = readFileSync(new URL("../../CHANGELOG.md", import.meta.url), "utf8");
  expect(families.length).toBeGreaterThanOrEqual(48);
  expect(changelog).toContain(` ${families.length} hash formats,`);
});
