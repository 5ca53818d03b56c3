/** Vectors by implementations on npm. See README.md. */
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(join(process.cwd(), "package.json"));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const versionOf = (name) =>
  JSON.parse(
    require("node:fs").readFileSync(join(process.cwd(), "node_modules", name, "package.json")),
  ).version;

const long = "Aé".repeat(24);
const passwords = ["password", "pässwörd ☃ 密码", `${long.slice(0, -2)}zz`, long, `${long}x`];
const vectors = [];
async function add(by, family, make, more = {}) {
  for (const password of passwords) {
    const made = await make(password);
    vectors.push({
      by,
      family,
      password,
      ...(Array.isArray(made) ? { pieces: made } : { hash: made }),
      ...more,
    });
  }
}
const named = (name) => `${name} ${versionOf(name)}`;

const { hashPassword } = await import(
  pathToFileURL(join(process.cwd(), "node_modules/better-auth/dist/crypto/index.mjs")).href
);
await add(named("better-auth"), "scrypt (better-auth)", async (pw) => [await hashPassword(pw)], {
  encoding: "betterAuthHash",
});
// One password in two Unicode normal forms, which better-auth takes for the same.
const decomposed = "pässwörd ﬁ".normalize("NFD");
vectors.push({
  by: named("better-auth"),
  family: "scrypt (better-auth)",
  password: decomposed,
  pieces: [await hashPassword("pässwörd fi")],
  encoding: "betterAuthHash",
});

const mongoose = require("mongoose");
const passport = require("passport-local-mongoose");
const schema = new mongoose.Schema({});
schema.plugin(passport.default ?? passport);
const User = mongoose.model("User", schema);
await add(
  named("passport-local-mongoose"),
  "pbkdf2 (passport-local-mongoose)",
  async (password) => {
    const user = new User({ username: "u" });
    await user.setPassword(password);
    return [user.get("hash"), user.get("salt")];
  },
  { encoding: "passportLocalMongooseHash" },
);

const { promisify } = require("node:util");
const v2 = require("aspnet-identity-pw");
await add(named("aspnet-identity-pw"), "pbkdf2 (ASP.NET v2)", (password) =>
  v2.hashPassword.length > 1 ? promisify(v2.hashPassword)(password) : v2.hashPassword(password),
);
const v3 = require("aspnetcore-identity-password-hasher");
await add(named("aspnetcore-identity-password-hasher"), "pbkdf2 (ASP.NET v3)", v3.hash);

const adonis = "node_modules/@adonisjs/hash/build/src/drivers";
for (const [family, file, name, config] of [
  ["scrypt (AdonisJS)", "scrypt", "Scrypt", { cost: 256 }],
  ["bcrypt (AdonisJS)", "bcrypt", "Bcrypt", { rounds: 4 }],
]) {
  const module = await import(pathToFileURL(join(process.cwd(), adonis, `${file}.js`)).href);
  const driver = new module[name](config);
  await add(named("@adonisjs/hash"), family, (pw) => driver.make(pw));
}

const drupal = require("drupal-hash");
const md5 = (text) => require("node:crypto").createHash("md5").update(text).digest("hex");
await add(named("drupal-hash"), "sha512 (Drupal)", (pw) => drupal.hashPassword(pw, 7));
await add(
  `${named("drupal-hash")} over MD5`,
  "md5 in sha512 (Drupal)",
  (pw) => `U${drupal.hashPassword(md5(pw), 7)}`,
);

const { PHP } = await load("@php-wasm/universal");
const { loadNodeRuntime } = await load("@php-wasm/node");
const runtime = await loadNodeRuntime("8.4", { emscriptenOptions: { processId: 1 } });
const php = new PHP(runtime);
const run = async (expression) => (await php.run({ code: `<?php echo ${expression};` })).text;
const by = `PHP ${await run("PHP_VERSION")}`;
const quoted = (password) => `'${password}'`;
await add(by, "bcrypt", (pw) =>
  run(`password_hash(${quoted(pw)}, PASSWORD_BCRYPT, ['cost' => 4])`),
);
await add(`${by}, as WordPress 6.8 calls it`, "bcrypt-sha384 (WordPress)", (pw) =>
  run(
    `'$wp' . password_hash(base64_encode(hash_hmac('sha384', trim(${quoted(pw)}), 'wp-sha384', true)), PASSWORD_BCRYPT, ['cost' => 4])`,
  ),
);
for (const [family, salt] of [
  ["md5-crypt", "$1$saltsalt$"],
  ["sha256-crypt", "$5$saltsaltsaltsalt$"],
  ["sha512-crypt", "$6$rounds=1234$salt$"],
]) {
  await add(by, family, (pw) => run(`crypt(${quoted(pw)}, '${salt}')`));
}

process.stdout.write(`${JSON.stringify(vectors, null, 1)}\n`, () => process.exit());
