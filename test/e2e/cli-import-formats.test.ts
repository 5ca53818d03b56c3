/** `users import` of the exports of other systems, each user then checked by his password. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { text as textOf } from "node:stream/consumers";
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
  readonly hash?: string;
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

test("mongoexport: hashes as bytes are taken, what cannot be read is named", async () => {
  const bytes = { $binary: { base64: Buffer.from(bcrypt).toString("base64"), subType: "00" } };
  const user = (_id: unknown, more: object) => ({
    _id,
    username: `user${JSON.stringify(_id)}`,
    ...more,
  });
  const legacy = { $binary: { base64: Buffer.alloc(16, 7).toString("base64"), subType: "03" } };
  const lines = [
    user(1, { passwordHash: bytes }),
    user(2, { passwordHash: { $binary: { ...bytes.$binary, subType: "05" } } }),
    user(3, { passwordHash: bytes, roles: [{ $oid: "6b026fd22de72bae8f8176fc" }] }),
    user(legacy, { passwordHash: bytes }),
  ];
  const text = lines.map((line) => JSON.stringify(line)).join("\n");
  const { code, stderr, summary } = await importText(text, "--format", "mongodb");
  expect([code, summary["added"], Object.values(summary["notes"] ?? {})]).toEqual([1, 2, [1]]);
  const rejected = stderr
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as unknown);
  expect(rejected).toMatchObject([
    { rejected: { line: 2, field: "passwordHash" } },
    { rejected: { line: 4, reason: expect.stringContaining("set USERS_LEGACY_UUID") } },
  ]);
  await expectLogin("user1", "password", {});
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

/** Of Ory Kratos's test suite, in the pieces that Auth0's bulk import takes them in. */
const auth0Hashes = {
  argon2: [
    "test",
    { hash: "$argon2id$v=19$m=32,t=2,p=4$cm94YnRVOW5jZzFzcVE4bQ$MNzk5BtR2vUhrp6qQEjRNw" },
  ],
  pbkdf2: [
    "test",
    {
      hash: "$pbkdf2-sha256$keylen=32,i=100000$1jP+5Zxpxgtee/iPxGgOz0RfE9/KJuDElP1ley4VxXc$QJxzfvdbHYBpydCbHoFg3GJEqMFULwskiuqiJctoYpI",
    },
  ],
  ldap: ["test123", { hash: "{SSHA}JFZFs0oHzxbMwkSJmYVeI8MnTDy/276a" }],
  sha1: [
    "BwS^514g^cv@Z",
    {
      hash: { value: "99h9net4BXl7qdTRaiGUobLROxM=", encoding: "base64" },
      salt: { value: "5opmkgz03r" },
    },
  ],
  sha256: [
    "test",
    {
      hash: {
        value: "d207d154b0afb410a4db4b9d2c3118e6f361ba35b1ed11a3c11212d5e6ccb0b6",
        encoding: "hex",
      },
      salt: {
        value: Buffer.from("5opmkgz03r").toString("hex"),
        encoding: "hex",
        position: "prefix",
      },
    },
  ],
  md5: ["ory", { hash: { value: "a6da16ca87f94a86d6fa96d9bb6417a1", encoding: "hex" } }],
  hmac: [
    "test",
    {
      hash: {
        value: "e031ba1c2938b1d283f919a1df9ac66c192a7dd74432d5fd4ada299941ba109f",
        encoding: "hex",
        digest: "sha256",
        key: { value: "12345" },
      },
    },
  ],
  scrypt: [
    "test",
    {
      hash: { value: "MiCzNcIplSMqSBrm4HckjYqYhaVPPjTARTzwB1cVNYE=", encoding: "base64" },
      salt: { value: "2npRo7P03Mt8keSoMbyD/tKFWyUzjiQf2svUaNDSrhA=", encoding: "base64" },
      keylen: 32,
    },
  ],
} as const;

test("Auth0: each algorithm of a bulk import, users without an id of their own", async () => {
  const users = Object.entries(auth0Hashes).map(([algorithm, [, { hash, ...more }]]) => ({
    email: `${algorithm}@example.com`,
    custom_password_hash: {
      algorithm,
      hash: typeof hash === "string" ? { value: hash, encoding: "utf8" } : hash,
      ...more,
    },
  }));
  const unknown = ["md4", "sha1"].map((algorithm) => ({
    email: `unknown-${algorithm}@example.com`,
    custom_password_hash: {
      algorithm,
      hash: { value: "00", encoding: "hex" },
      password: { encoding: "utf16le" },
    },
  }));
  const broken = { email: "broken@example.com", custom_password_hash: { algorithm: "hmac" } };
  const text = JSON.stringify([...users, ...unknown, broken]);
  const { code, stderr, summary } = await importText(text, "--format", "auth0");
  expect([code, summary["added"]]).toEqual([1, users.length]);
  expect(stderr.match(/"custom_password_hash"/g)).toHaveLength(3);
  for (const [algorithm, [password]] of Object.entries(auth0Hashes)) {
    const value: unknown = expect.stringMatching(/^auth0\|[0-9a-f]{24}$/);
    await expectLogin(`${algorithm}@example.com`, password, { id: { type: "string", value } });
  }
  const again = await importText(text, "--format", "auth0", "--on-conflict", "skip");
  expect(again.summary["skipped"]).toBe(users.length);
});

test("Auth0: a PBKDF2 hash that leaves its parameters out has 100,000 iterations", async () => {
  const parameters = "i=100000,l=32$";
  const { password, hash } = vectors.find((vector) => vector.hash?.includes(parameters)) ?? {
    password: "",
  };
  const value = hash?.replace(parameters, "");
  const user = { email: "a@b.c", custom_password_hash: { algorithm: "pbkdf2", hash: { value } } };
  expect((await importText(JSON.stringify([user]), "--format", "auth0")).code).toBe(0);
  await expectLogin("a@b.c", password, {});
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

test("Keycloak: a list of realms, a realm without users, and bcrypt by its provider", async () => {
  const secret = { value: bcrypt, salt: "", additionalParameters: {} };
  const data = { hashIterations: 5, algorithm: "bcrypt", additionalParameters: {} };
  const user = (username: string, id: number) => ({
    id: `0190f5b2-7c1e-7a3b-9d4e-2f1a3b4c5d6${id}`,
    username,
    enabled: true,
    credentials: [
      {
        type: "password",
        credentialData: JSON.stringify(data),
        secretData: JSON.stringify(secret),
      },
    ],
  });
  const realms = [
    { id: "master", realm: "master", users: [user("ann", 1), user("ben", 2)] },
    { id: "none", realm: "none", users: [] },
    { id: "bare", realm: "bare", clients: [{ a: [{ b: [] }] }] },
    {
      id: "other",
      realm: "other",
      roles: { users: [{}] },
      users: [user("cid", 3), user("ann", 4)],
    },
  ];
  const { code, stderr, summary } = await importText(
    JSON.stringify(realms, null, 1),
    "--format",
    "keycloak",
  );
  expect([code, summary["added"]]).toEqual([1, 3]);
  expect(
    stderr
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as unknown),
  ).toMatchObject([
    { rejected: { field: "users", reason: "is missing in this realm" } },
    { rejected: { field: "username" } },
  ]);
  for (const username of ["ann", "ben", "cid"]) await expectLogin(username, "password", {});
  expect((await importText(JSON.stringify([user("dan", 5)]), "--format", "keycloak")).code).toBe(0);
  await expectLogin("dan", "password", { disabled: false });
});

test("lines as MySQL writes them: flags as numbers or text, padded hashes", async () => {
  const lines = [0, 1, "0", "1", "false", "true"].map((disabled, i) =>
    JSON.stringify({ _id: i, username: `u${i}`, disabled, passwordHash: `${bcrypt}\n`.padEnd(80) }),
  );
  expect(await importText(lines.join("\n"))).toMatchObject({ code: 0, stderr: "" });
  for (const i of [0, 1, 2, 3, 4, 5]) {
    await expectLogin(`u${i}`, "password", { disabled: i % 2 === 1, passwordHash: bcrypt });
  }
});

test("lines whose hashes carry no mark, as USERS_PASSWORD_FORMAT tells", async () => {
  const hash = "da2fdda93714de49a51c3e38ecd2e2bf";
  const line = JSON.stringify({
    _id: 1,
    username: "ann",
    passwordHash: hash,
    salt: "saltsaltsaltsalt",
  });
  expect((await importText(line)).stderr).toContain("may be one of: md5");
  env = { USERS_PASSWORD_FORMAT: "md5 mix=password+salt salt=salt" };
  expect(await importText(line)).toMatchObject({ code: 0, summary: { ignoredFields: {} } });
  await expectLogin("ann", "correct horse battery", {});
});

test("a pepper is known to the process that reads what another has imported", async () => {
  const hash = "$2b$04$y.rCEs9sKt6sK0kqKvy9Ve7.PvGN3p88I8IgGtXhwKNJiMPyWdBQe";
  env = { USERS_PASSWORD_FORMAT: "marked mix=password+pepper", USERS_PASSWORD_PEPPER: "pepper" };
  const line = JSON.stringify({ _id: 1, username: "ann", passwordHash: hash });
  expect((await importText(line)).code).toBe(0);
  const child = cli.start(["doctor", "--try", "ann", "--password-stdin"], env);
  child.stdin.end("correct horse battery");
  expect(await textOf(child.stdout)).toContain("would log in");
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
