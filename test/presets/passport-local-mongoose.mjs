/** Users by passport-local-mongoose, with its defaults and with other settings. See README.md. */
import { dump, named, require } from "./dump.mjs";

const uri = process.argv[2];
const mongoose = require("mongoose");
const plugin = require("passport-local-mongoose");
const settings = {
  users: {},
  users_sha1: { digestAlgorithm: "sha1", iterations: 12_000 },
  users_5000: { iterations: 5_000 },
  users_sha512: { digestAlgorithm: "sha512", iterations: 5_000, keylen: 64 },
  users_base64: { encoding: "base64", keylen: 64, usernameField: "email", usernameLowerCase: true },
};
await mongoose.connect(uri);
for (const [collection, options] of Object.entries(settings)) {
  const schema = new mongoose.Schema({ email: String });
  schema.plugin(plugin.default ?? plugin, options);
  const User = mongoose.model(collection, schema, collection);
  await User.register(
    new User({ username: "alice", email: "Alice@example.com" }),
    "correct horse battery",
  );
  await User.init();
}
await mongoose.disconnect();
await dump(
  uri,
  ["passport-local-mongoose", "mongoose"].map(named).join(", "),
  Object.keys(settings),
);
