/** `users import` of the exports of other systems, each user then checked by his password. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { verifyPassword } from "../../src/auth/passwords/passwords.js";
import { openEmbeddedStore } from "../../src/store/embedded/embedded-store.js";
import { createCli, type Cli } from "../support/cli.js";

const bcrypt = "$2b$05$u20VBwsot1oJi.pHspQ2FeLqF6KpWrbwgDdwRbmVtkUpNQ3hq7Oz6";
let cli: Cli;
beforeEach(() => {
  cli = createCli();
});
afterEach(() => cli.remove());

interface Vector {
  readonly family: string;
  readonly password: string;
  readonly pieces?: readonly string[];
  readonly encoding?: string;
}
const vectors = ["python", "java", "node", "published"].flatMap((file) => {
  const url = new URL(`../vectors/hashes-${file}.json`, import.meta.url);
  return JSON.parse(readFileSync(url, "utf8")) as Vector[];
});

async function importText(text: string, ...options: string[]) {
  const { code, stdout, stderr } = await cli.run(["users", "import", "-", "--json", ...options], {
    input: text,
    env,
  });
  return { code, stderr, summary: JSON.parse(stdout) as Record<string, unknown> };
}
let env: Record<string, string> = {};
beforeEach(() => {
  env = {};
});

async function find(username: string) {
  const store = await openEmbeddedStore({ dataDir: join(cli.dir, "data") });
  try {
    return await store.users.findByUsername(username);
  } finally {
    await store.close();
  }
}

async function expectLogin(username: string, password: string, expected: object) {
  const user = await find(username);
  expect(user).toMatchObject(expected);
  expect(await verifyPassword(user?.passwordHash, password)).toBe(true);
}

test.each(["lines", "a list", "a list over lines"])("mongoexport, %s", async (form) => {
  env = { USERS_PRESET: "django" };
  const fixture = JSON.parse(
    readFileSync(new URL("../presets/django.json", import.meta.url), "utf8"),
  ) as { collections: { auth_user: object[] } };
  const users = fixture.collections.auth_user.slice(0, 2);
  const text =
    form === "lines"
      ? users.map((user) => JSON.stringify(user)).join("\n")
      : JSON.stringify(users, null, form === "a list" ? 0 : 2);
  expect(await importText(text, "--format", "mongodb")).toMatchObject({ code: 0, stderr: "" });
  const password = "correct horse battery";
  await expectLogin("alice", password, { id: { type: "objectid" }, disabled: false });
  await expectLogin("mallory", password, { disabled: true });
});

test("mongoexport with a hash in pieces, and with documents that are no users", async () => {
  env = { USERS_PRESET: "passport-local-mongoose" };
  const { collections } = JSON.parse(
    readFileSync(new URL("../presets/passport-local-mongoose.json", import.meta.url), "utf8"),
  ) as { collections: { users: object[] } };
  const text = JSON.stringify([...collections.users, { _id: 7 }, { _id: { $oid: "x" } }]);
  const { code, stderr } = await importText(text, "--format", "mongodb");
  expect(code).toBe(1);
  expect(stderr.match(/"rejected"/g)).toHaveLength(2);
  await expectLogin("alice", "correct horse battery", {});
});

test("Auth0: the export with hashes, and the file of its bulk import", async () => {
  const exported = {
    _id: { $oid: "60425dc43519d90068f82973" },
    email_verified: false,
    email: "alice@example.com",
    passwordHash: bcrypt,
    password_set_date: { $date: "2021-03-05T16:34:12.502Z" },
    tenant: "dev",
    connection: "Username-Password-Authentication",
    _tmp_is_unique: true,
  };
  const bulk = [
    {
      user_id: "auth0|bob",
      email: "bob@example.com",
      blocked: true,
      app_metadata: { roles: ["admin"] },
      custom_password_hash: { algorithm: "bcrypt", hash: { value: bcrypt } },
    },
  ];
  expect((await importText(JSON.stringify(exported), "--format", "auth0")).code).toBe(0);
  expect((await importText(JSON.stringify(bulk), "--format", "auth0")).code).toBe(0);
  await expectLogin("alice@example.com", "password", { id: { type: "objectid" } });
  const id = { type: "string", value: "auth0|bob" };
  await expectLogin("bob@example.com", "password", { id, disabled: true, roles: ["admin"] });
});

test("Firebase, with the parameters as its console shows them", async () => {
  // The example that Firebase publishes with its scrypt.
  const user = {
    localId: "u1",
    email: "user1@example.com",
    passwordHash:
      "lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==",
    salt: "42xEC+ixf3L2lw==",
    disabled: false,
    providerUserInfo: [],
  };
  const config = join(cli.dir, "hash-config");
  writeFileSync(
    config,
    `hash_config {
  algorithm: SCRYPT,
  base64_signer_key: jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==,
  base64_salt_separator: Bw==,
  rounds: 8,
  mem_cost: 14,
}`,
  );
  const text = JSON.stringify({ version: 1, users: [user] });
  const without = await importText(text, "--format", "firebase");
  expect([without.code, without.stderr]).toEqual([1, expect.stringContaining("--firebase-config")]);
  const imported = await importText(text, "--format", "firebase", "--firebase-config", config);
  expect(imported).toMatchObject({ code: 0, stderr: "" });
  await expectLogin("user1@example.com", "user1password", { id: { type: "string", value: "u1" } });
});

test("Keycloak: the users of a realm's export", async () => {
  const made = vectors.filter(({ encoding }) => encoding === "keycloakHash").slice(0, 2);
  expect(made).toHaveLength(2);
  const users = made.map(({ pieces = [] }, i) => ({
    id: `0190f5b2-7c1e-7a3b-9d4e-2f1a3b4c5d6${i}`,
    username: `user${i}`,
    enabled: i === 0,
    realmRoles: ["a"],
    credentials: [
      { id: "c", type: "otp", secretData: "{}" },
      { id: "d", type: "password", credentialData: pieces[0], secretData: pieces[1] },
    ],
  }));
  const realm = { realm: "x", roles: { realm: [{ name: "users" }] }, users, clients: [{ a: [1] }] };
  const text = JSON.stringify(realm, null, 2);
  expect(await importText(text, "--format", "keycloak")).toMatchObject({ code: 0, stderr: "" });
  for (const [i, { password }] of made.entries()) {
    await expectLogin(`user${i}`, password, { disabled: i !== 0, roles: ["a"] });
  }
});

test("Cognito has no hashes: its users come without a password", async () => {
  const user = {
    Username: "alice",
    Attributes: [{ Name: "sub", Value: "0190f5b2-7c1e-7a3b-9d4e-2f1a3b4c5d6e" }],
    Enabled: false,
    UserStatus: "CONFIRMED",
  };
  const { code, summary } = await importText(
    JSON.stringify({ Users: [user] }),
    "--format",
    "cognito",
  );
  expect([code, summary["withoutPassword"]]).toEqual([0, 1]);
  expect(await find("alice")).toMatchObject({ disabled: true, passwordHash: undefined });
});

test("an object of a list is named by the line that it begins in, however long it is", async () => {
  const good = { _id: 1, username: "a", text: 'br{ack}ets [and] "quotes\\"' };
  const text = `\n[\n${JSON.stringify(good)},\n{"_id":2},\n{"_id":3,"x":"${"y".repeat(1_100_000)}"},\n{"_id":4,"username":"d"}\n]`;
  const { code, stderr, summary } = await importText(text);
  const lines = stderr.trim().split("\n");
  expect(
    lines.map((line) => (JSON.parse(line) as { rejected: { line: number } }).rejected.line),
  ).toEqual([4, 5]);
  expect([code, summary["added"]]).toEqual([1, 2]);
});

test("an import that was cut off is taken up again with skip", async () => {
  const lines = Array.from({ length: 30 }, (_, i) => JSON.stringify({ _id: i, username: `u${i}` }));
  await importText(lines.slice(0, 12).join("\n"));
  const { code, summary } = await importText(lines.join("\n"), "--on-conflict", "skip");
  expect([code, summary["added"], summary["skipped"]]).toEqual([0, 18, 12]);
});
