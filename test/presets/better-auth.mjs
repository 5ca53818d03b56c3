/** Users by better-auth with its admin plugin, which bans. See README.md. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { dump, named, require } from "./dump.mjs";

const uri = process.argv[2];
const load = (path) => import(pathToFileURL(join(process.cwd(), "node_modules", path)).href);
const { MongoClient } = require("mongodb");
const { betterAuth } = await load("better-auth/dist/index.mjs");
const { mongodbAdapter } = await load("better-auth/dist/adapters/mongodb-adapter/index.mjs");
const { admin } = await load("better-auth/dist/plugins/index.mjs");

const client = new MongoClient(uri);
const options = {
  secret: "a secret of more than thirty-two characters",
  baseURL: "http://localhost:3000",
  database: mongodbAdapter(client.db(), { transaction: false }),
  emailAndPassword: { enabled: true },
  plugins: [admin()],
};
const auth = betterAuth(options);
const password = "correct horse battery";
for (const [name, email] of [
  ["alice", "Alice@Example.com"],
  ["mallory", "mallory@example.com"],
]) {
  await auth.api.signUpEmail({ body: { name, email, password } });
}
const context = await auth.$context;
const { user } = await context.internalAdapter.findUserByEmail("mallory@example.com");
await context.internalAdapter.updateUser(user.id, { banned: true, banReason: "No reason" });
const alice = await context.internalAdapter.findUserByEmail("alice@example.com");
await context.internalAdapter.updateUser(alice.user.id, { role: "admin,user" });
// As its guides for those who come from other services set it.
const bcrypt = require("bcrypt");
const argon2 = require("@node-rs/argon2");
const others = {
  bcrypt: {
    hash: (password) => bcrypt.hash(password, 10),
    verify: ({ hash, password }) => bcrypt.compare(password, hash),
  },
  argon2: {
    hash: (password) => argon2.hash(password),
    verify: ({ hash, password }) => argon2.verify(hash, password),
  },
};
for (const [name, own] of Object.entries(others)) {
  const { api } = betterAuth({
    ...options,
    emailAndPassword: { enabled: true, password: own },
  });
  await api.signUpEmail({ body: { name, email: `${name}@example.com`, password } });
}
await client.close();
await dump(uri, ["better-auth", "bcrypt", "@node-rs/argon2"].map(named).join(", "), [
  "user",
  "account",
]);
process.exit();
