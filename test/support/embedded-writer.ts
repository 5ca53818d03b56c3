/**
 * A process that adds users to an embedded store and prints each username once it is added. Its
 * arguments: the folder, the prefix of the ids, the prefix of the usernames, the number of users.
 */
import { openEmbeddedStore } from "../../src/store/embedded/embedded-store.js";
import { AuthError } from "../../src/auth/errors.js";
import { newUser } from "./users.js";

const [dataDir = "", idPrefix = "", namePrefix = "", count = ""] = process.argv.slice(2);
const { users } = await openEmbeddedStore({ dataDir });
for (let i = 0; i < Number(count); i += 10) {
  const names = Array.from({ length: 10 }, (_, j) => `${namePrefix}${i + j}`);
  const adding = names.map(async (username) => {
    const id = { type: "string", value: `${idPrefix}${username}` } as const;
    const outcome = await users
      .add(newUser({ id, username }))
      .catch((error: unknown) => AuthError.from(error));
    const said = outcome instanceof AuthError ? outcome.code : outcome;
    if (said !== "username_taken") process.stdout.write(`${said} ${username}\n`);
    return said;
  });
  if ((await Promise.all(adding)).includes("store_unavailable")) break;
}
const first = await users.findByUsername(`${namePrefix}0`);
process.stdout.write(`done ${first?.username ?? ""}\n`);
process.exit();
