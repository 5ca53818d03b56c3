/** Users by passport-local-mongoose. See README.md. */
import { dump, named, require } from "./dump.mjs";

const uri = process.argv[2];
const mongoose = require("mongoose");
const plugin = require("passport-local-mongoose");
const schema = new mongoose.Schema({ email: String });
schema.plugin(plugin.default ?? plugin);
const User = mongoose.model("User", schema);
await mongoose.connect(uri);
await User.register(
  new User({ username: "alice", email: "alice@example.com" }),
  "correct horse battery",
);
await User.init();
await mongoose.disconnect();
await dump(uri, ["passport-local-mongoose", "mongoose"].map(named).join(", "), ["users"]);
