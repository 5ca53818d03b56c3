/** The commands of docs/migration.md, one after the other, on a collection that Parse Server made. */
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { BSON, MongoClient, type Document, type IndexDescriptionInfo } from "mongodb";
import { runShell, shellBlocks } from "../support/doc-commands.js";
import { startService, testUser, type RunningService } from "../support/service.js";
import { useStores } from "../support/stores.js";

const stores = useStores();
let folder: string;
let oldServer: RunningService;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "latchkey-migration-"));
  const put = (name: string, content: string | Buffer) =>
    writeFileSync(join(folder, name), content);
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const der = publicKey.export({ type: "spki", format: "der" });
  put("old-server-key.der", der);
  put("public_key.der", der);
  put("private_key.der", privateKey.export({ type: "pkcs8", format: "der" }));
  put("password.txt", "password\n");
  const { username, passwordHash } = testUser;
  put("users.ndjson", `${JSON.stringify({ _id: 1, username, passwordHash })}\n`);
  oldServer = await startService();
});
afterAll(async () => {
  await oldServer.close();
  rmSync(folder, { recursive: true });
});

/** A database as Parse Server left it, and in it the user of the old server. */
async function adoptedUri(): Promise<string> {
  const { MONGODB_URI = "" } = await stores.newPlace("mongodb");
  const file = new URL("../presets/parse-server.json", import.meta.url);
  const { collections, indexes } = BSON.EJSON.parse(readFileSync(file, "utf8")) as {
    collections: { _User: Document[] };
    indexes: { _User: IndexDescriptionInfo[] };
  };
  const client = new MongoClient(MONGODB_URI);
  const users = client.db().collection("_User");
  const { username, passwordHash } = testUser;
  await users.insertMany([
    ...collections._User,
    { _id: "1", username, _hashed_password: passwordHash },
  ]);
  for (const { key, ...options } of indexes._User) await users.createIndex(key, options, undefined);
  await client.close();
  return MONGODB_URI;
}

/** Logs in at the older server's path; tells what the token has and when it says that it expires. */
const login = `
"$NODE" -e 'fetch(process.argv[1] + "/api/v1/authentication/login", { method: "POST",
  body: JSON.stringify({ username: process.argv[2], password: "password" }) })
  .then((answer) => answer.json())
  .then(({ data, token_exp }) => console.log("login:", JSON.stringify({ token_exp,
    ...JSON.parse(Buffer.from(data.split(".")[1], "base64url")) })))' "$URL" testuser
`;

test("the guide does what it says, from the adopted collection to the old servers' chapters", async () => {
  const blocks = shellBlocks("docs/migration.md");
  expect(blocks).toHaveLength(13);
  const adopted = await adoptedUri();
  const [imported, table] = await Promise.all([1, 2].map(() => stores.newPlace("mongodb")));
  /** What is there before a block, and what shows afterwards what it did. */
  const around: readonly (readonly [RegExp, before: string, after: string])[] = [
    [
      /import users\.ndjson --dry-run/,
      `(export MONGODB_URI=${imported?.["MONGODB_URI"] ?? ""}; unset USERS_PRESET`,
      ")",
    ],
    [
      /mysql/,
      `unset USERS_PRESET; export MONGODB_URI=${table?.["MONGODB_URI"] ?? ""}
      mysql() { cat users.ndjson.sql; }; mv users.ndjson users.ndjson.sql`,
      "",
    ],
    [/SIGNING_KEY_FILE=/, "", `latchkey doctor; latchkey serve; ${login}`],
    [/LEGACY_TIME_ZONE=/, "", `latchkey serve; ${login}`],
  ];
  const script = blocks.flatMap((block) => {
    const [, before = "", after = ""] = around.find(([pattern]) => pattern.test(block)) ?? [];
    const here = block
      .replace("mongodb://localhost:27017/app", adopted)
      .replace("http://old.example:8081", oldServer.url)
      .replace("http://127.0.0.1:8080", '"$URL"');
    return [before, here, after];
  });
  const { code, stdout, stderr } = await runShell(script, { cwd: folder });
  expect([code, stderr, code === 0 ? "" : stdout]).toEqual([0, "", ""]);

  expect(stdout).toMatch(/1 added, .*\(dry run, nothing was written\)[^]*1 added, /);
  expect(stdout).toContain("2 of 2 users can log in (100%)");
  expect(stdout).toContain('"TestUser" would log in with this password');
  expect(stdout).toContain("1 trusted keys of old servers");
  expect(stdout).toMatch(/\d+ rows agree, 0 differ/);
  expect(stdout).toContain("SIGNING_KEY_FILE holds the key that signs");
  const [first, second] = [...stdout.matchAll(/^login: (.*)$/gm)].map(
    ([, json = ""]) => JSON.parse(json) as Record<string, unknown>,
  );
  const claims = { sub: "1", iss: "NomicGameManager.Api", aud: "NomicGameManager.Api" };
  expect([first, second]).toMatchObject([claims, claims]);
  const shown = (token: Record<string, unknown> | undefined, timeZone: string) => [
    Date.parse(`${String(token?.["token_exp"]).replace(",", "")} UTC`),
    Date.parse(
      `${new Date(Number(token?.["exp"]) * 1000).toLocaleString("en-US", { timeZone })} UTC`,
    ),
  ];
  for (const [token, zone] of [
    [first, "UTC"],
    [second, "America/New_York"],
  ] as const) {
    const [said, meant] = shown(token, zone);
    expect(said).toBe(meant);
  }
});
