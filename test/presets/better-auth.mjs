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
const auth = betterAuth({
  secret: "a secret of more than thirty-two characters",
  baseURL: "http://localhost:3000",
  database: mongodbAdapter(client.db(), { transaction: false }),
  emailAndPassword: { enabled: true },
  plugins: [admin()],
});
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
await client.close();
await dump(uri, named("better-auth"), ["user", "account"]);
process.exit();
