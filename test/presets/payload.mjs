/** Users by Payload. See README.md. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { dump, named, require } from "./dump.mjs";

const uri = process.argv[2];
const load = (path) => import(pathToFileURL(join(process.cwd(), "node_modules", path)).href);
const { buildConfig, getPayload } = await load("payload/dist/index.js");
const { mongooseAdapter } = await load("@payloadcms/db-mongodb/dist/index.js");
const payload = await getPayload({
  config: buildConfig({
    secret: "a secret of more than thirty-two characters",
    db: mongooseAdapter({ url: uri, transactionOptions: false }),
    collections: [
      {
        slug: "users",
        auth: true,
        fields: [{ name: "roles", type: "select", hasMany: true, options: ["admin", "editor"] }],
      },
    ],
    telemetry: false,
    logger: { options: { level: "error" } },
  }),
});
await payload.create({
  collection: "users",
  data: {
    email: "Alice@Example.com",
    password: "correct horse battery",
    roles: ["admin", "editor"],
  },
});
await dump(uri, named("payload"), ["users"]);
process.exit();
