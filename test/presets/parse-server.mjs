/** Users by Parse Server. See README.md. */
import { dump, named, require } from "./dump.mjs";

const uri = process.argv[2];
const { ParseServer } = require("parse-server");
const server = new ParseServer({
  databaseURI: uri,
  appId: "app",
  masterKey: "master",
  serverURL: "http://127.0.0.1:1/parse",
  silent: true,
  logLevel: "error",
  passwordPolicy: { maxPasswordAge: 365 },
});
await server.start();
const rest = require("parse-server/lib/rest");
const { master } = require("parse-server/lib/Auth");
const Config = require("parse-server/lib/Config");
const config = Config.get("app");
await rest.create(config, master(config), "_User", {
  username: "alice",
  email: "alice@example.com",
  password: "correct horse battery",
});
await new Promise((resolve) => setTimeout(resolve, 500));
await dump(uri, named("parse-server"), ["_User"]);
process.exit();
