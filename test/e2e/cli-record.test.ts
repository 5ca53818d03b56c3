/** `users export`, `users set` and the record of administration, on both stores. */
import { generateKeyPairSync } from "node:crypto";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { hostname, userInfo } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { User, UserId } from "../../src/auth/users.js";
import type { Environment } from "../../src/config/config.js";
import { createCli, type Cli } from "../support/cli.js";
import { storeNames, useStores } from "../support/stores.js";
import { newUser, seedUser } from "../support/users.js";

const password = "correct horse battery staple";
const stores = useStores();
let cli: Cli;
beforeAll(() => {
  cli = createCli();
});
afterAll(() => cli.remove());

async function run(env: Environment, args: readonly string[], input = "") {
  const result = await cli.run(args, { env, input });
  expect(result).toMatchObject({ code: 0 });
  return result.stdout;
}

const jsonLines = (text: string) =>
  text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe("an export", () => {
  const ids: UserId[] = [
    { type: "int", value: "1" },
    { type: "int", value: "-7" },
    { type: "int", value: "2147483648" },
    { type: "int", value: "9223372036854775807" },
    { type: "string", value: "12" },
    { type: "string", value: "-" },
    { type: "string", value: "65f0a0b0c0d0e0f001020304" },
    { type: "objectid", value: "65f0a0b0c0d0e0f001020305" },
    { type: "uuid", value: "0190f0a0-0000-7000-8000-00000000000a" },
  ];
  const differences: Partial<User>[] = [
    {},
    { disabled: true },
    { roles: ["a", "\u2028b"] },
    { passwordHash: undefined },
    { tokensValidAfter: new Date("2026-01-02T03:04:05.678Z") },
  ];
  const users = ids.map((id, i) =>
    newUser({
      ...seedUser,
      id,
      username: `user ${i} \u202e`,
      ...differences[i % differences.length],
    }),
  );

  async function stored(env: Environment): Promise<User[]> {
    const store = await stores.open(env);
    const found: User[] = [];
    for await (const user of store.users.list()) found.push(user);
    return found.sort((a, b) => a.username.localeCompare(b.username));
  }

  test("goes from the embedded store to MongoDB and back with every type of _id", async () => {
    const places = [
      await stores.newPlace("embedded"),
      await stores.newPlace("mongodb"),
      await stores.newPlace("embedded"),
    ] as const;
    const first = await stores.open(places[0]);
    for (const user of users) await first.users.add(user);
    for (const [i, from] of places.slice(0, -1).entries()) {
      const file = join(cli.dir, `users-${i}.ndjson`);
      expect(await run(from, ["users", "export", file])).toBe(
        `users exported to ${file}: ${users.length}\n`,
      );
      expect(statSync(file).mode & 0o777).toBe(0o600);
      await run(places[i + 1] ?? {}, ["users", "import", file]);
    }
    expect(await stored(places[1])).toEqual(users);
    expect(await stored(places[2])).toEqual(users);
  });

  test("to standard output is the lines alone, and overwrites no file", async () => {
    const env = await stores.newPlace("embedded");
    await run(env, ["users", "add", "ann", "--id", "1", "--password-stdin"], password);
    const lines = jsonLines(await run(env, ["users", "export"]));
    expect(lines).toMatchObject([{ _id: 1, username: "ann", disabled: false, roles: [] }]);
    expect(lines[0]?.["passwordHash"]).toMatch(/^\$argon2id\$/);
    const file = join(cli.dir, "there.ndjson");
    writeFileSync(file, "mine");
    const { code, stderr } = await cli.run(["users", "export", file], { env });
    expect([code, stderr]).toEqual([1, `error: ${file} cannot be written: it exists already\n`]);
    expect(readFileSync(file, "utf8")).toBe("mine");
  });

  test("of a store that does not answer leaves no file", async () => {
    const file = join(cli.dir, "none.ndjson");
    const env = { MONGODB_URI: "mongodb://127.0.0.1:1/app" };
    expect(await cli.run(["users", "export", file], { env })).toMatchObject({ code: 1 });
    expect(() => statSync(file)).toThrow("ENOENT");
  });
});

describe.each(storeNames)("on %s", (name) => {
  test("a replaced user whose line has no hash keeps the password, and that is said", async () => {
    const env = await stores.newPlace(name);
    await run(env, ["users", "add", "ann", "--id", "1", "--password-stdin"], password);
    const before = await run(env, ["users", "export"]);
    const line = '{"_id":1,"username":"ann","roles":["new"]}';
    const args = ["users", "import", "-", "--on-conflict", "replace"];
    const output = await run(env, args, line);
    expect(output).toContain("keeps the password: 1\n");
    const [was, is] = [before, await run(env, ["users", "export"])].map(
      (text) => jsonLines(text)[0],
    );
    expect(is).toEqual({ ...was, roles: ["new"] });
  });

  test("whatever is done is recorded: by whom, when and to whom", async () => {
    const env = await stores.newPlace(name);
    const file = join(cli.dir, "public.pem");
    const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    writeFileSync(file, publicKey.export({ type: "spki", format: "pem" }));
    const startMs = Date.now();
    const done = [
      ["users add ann --id 1 --password-stdin", "user_added"],
      ["users set ann --role admin", "user_roles_set"],
      ["users set ann --without-roles", "user_roles_set"],
      ["users disable ann", "user_disabled"],
      ["users enable ann", "user_enabled"],
      ["users passwd ann --password-stdin", "user_password_set"],
      ["users revoke ann", "user_revoked"],
      ["users remove ann", "user_removed"],
      [`keys import ${file} --kid -old`, "key_imported"],
      ["keys revoke -old", "key_revoked"],
      ["keys rotate", "key_rotation_asked"],
      ["keys rotate --now", "key_rotated"],
    ] as const;
    for (const [line] of done) await run(env, line.split(" "), password);
    const bob = '{"_id":5,"username":"bob"}\n';
    await run(env, ["users", "import", "-"], bob);
    await cli.run(["users", "import", "-"], { env, input: bob });
    // What has nothing to do, fails before it begins, or only looks is not recorded.
    for (const line of [
      "users show bob",
      "users list",
      "keys list",
      "users unlock bob",
      "users import /dev/null --dry-run",
    ]) {
      await run(env, line.split(" "));
    }
    await cli.run(["users", "disable", "ghost"], { env });
    await cli.run(["keys", "revoke", "ghost"], { env });

    const entries = jsonLines(await run(env, ["audit", "--json"]));
    expect(entries.map(({ action, outcome }) => [action, outcome])).toEqual([
      ...done.map(([, action]) => [action, "done"]),
      ["users_imported", "done"],
      ["users_imported", "nothing"],
    ]);
    const by = { user: userInfo().username, host: hostname() };
    for (const entry of entries) {
      expect(entry["by"]).toEqual(by);
      expect(Date.parse(String(entry["time"]))).toBeGreaterThanOrEqual(startMs);
    }
    expect(entries[0]).toMatchObject({ target: "ann", details: { _id: 1, roles: [] } });
    expect(entries[1]).toMatchObject({ target: "ann", details: { roles: ["admin"] } });
    expect(entries.find(({ action }) => action === "users_imported")).toMatchObject({
      details: { file: "-", onConflict: "fail", added: 1, rejected: 0 },
    });
    const table = await run(env, ["audit"]);
    expect(table).toMatch(/^TIME +BY +ACTION +TARGET +OUTCOME +DETAILS\n/);
    expect(table.trimEnd().split("\n")).toHaveLength(entries.length + 1);
    expect(await run(env, ["audit", "--json", "--since", "0s"])).toBe("");
    expect(jsonLines(await run(env, ["audit", "--json", "--since", "1h"]))).toEqual(entries);
    expect(await cli.run(["audit", "--since", "yesterday"], { env })).toMatchObject({ code: 2 });
  });
});
