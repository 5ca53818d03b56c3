/** Prints the collections of a database as Extended JSON, with who made them. See README.md. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

// Frameworks talk on standard output too.
const write = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr);

export const require = createRequire(join(process.cwd(), "package.json"));
export const named = (name) =>
  `${name} ${JSON.parse(readFileSync(join(process.cwd(), "node_modules", name, "package.json"))).version}`;

export async function dump(uri, by, names) {
  const { BSON, MongoClient } = require("mongodb");
  const client = new MongoClient(uri);
  const collections = {};
  const indexes = {};
  for (const name of names) {
    const collection = client.db().collection(name);
    collections[name] = await collection.find().toArray();
    indexes[name] = (await collection.indexes()).filter((index) => index.name !== "_id_");
  }
  await client.close();
  const text = BSON.EJSON.stringify({ by, collections, indexes }, null, 1, { relaxed: true });
  await new Promise((resolve) => write(`${text}\n`, resolve));
}
