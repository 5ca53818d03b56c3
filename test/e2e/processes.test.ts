/** Operators change users with the command line while two servers run on one store. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { decodeJwt } from "jose";
import { basic, createHttpClient, type HttpClient } from "../support/http.js";
import { startTestMongo, type TestMongo } from "../support/mongo.js";
import { testUser } from "../support/service.js";
import { runCommand, startServerProcess, type ServerProcess } from "../support/server-process.js";

let mongo: TestMongo | undefined;
let dataDir: string;
beforeAll(async () => {
  mongo = await startTestMongo();
  dataDir = mkdtempSync(join(tmpdir(), "latchkey-"));
});
afterAll(async () => {
  await mongo?.dispose();
  rmSync(dataDir, { recursive: true });
});

const stores: [string, () => Record<string, string> | undefined][] = [
  ["the embedded store", () => ({ DATA_DIR: dataDir })],
  ["MongoDB", () => (mongo ? { MONGODB_URI: mongo.newDatabase() } : undefined)],
];

describe.each(stores)("on %s", (_, envOf) => {
  let env: Record<string, string> | undefined;
  let servers: ServerProcess[] = [];
  let clients: HttpClient[] = [];
  beforeAll(async () => {
    env = envOf();
    if (env === undefined) return;
    // Both at once on an empty store: they must agree on one signing key.
    servers = await Promise.all([startServerProcess(env), startServerProcess(env)]);
    clients = servers.map(({ url }) => createHttpClient(url));
  });
  afterAll(async () => {
    clients.forEach((client) => client.close());
    expect(await Promise.all(servers.map((server) => server.stop()))).toEqual(servers.map(() => 0));
  });

  async function latchkey(args: string[], stdin?: string): Promise<unknown> {
    const result = await runCommand([...args, "--json"], env ?? {}, stdin);
    expect(result).toMatchObject({ exitCode: 0 });
    return result.stdout === "" ? undefined : JSON.parse(result.stdout);
  }

  /** The statuses of all servers, and the tokens where there are some. */
  async function issue(authorization: string) {
    const calls = clients.map((client) =>
      client.call("/api/auth/token", { headers: { authorization } }),
    );
    const replies = await Promise.all(calls);
    return {
      statuses: replies.map(({ status }) => status),
      tokens: replies.map(({ body }) => body && (JSON.parse(body) as { token: string }).token),
    };
  }
  const both = (status: number) => [status, status];

  test("the row of the old server's table logs in as it is, and its id is the subject", async () => {
    if (env === undefined) return;
    const { username, passwordHash } = testUser;
    const row = JSON.stringify({ _id: 1, username, passwordHash });
    await latchkey(["users", "import", "-"], `${row}\n`);
    const { statuses, tokens } = await issue(basic("TestUser", "password"));
    expect(statuses).toEqual(both(200));
    expect(decodeJwt(tokens[0] ?? "").sub).toBe("1");
    await latchkey(["users", "remove", "TestUser"]);
  });

  test("users, passwords and revocations are felt by the next request on every server", async () => {
    if (env === undefined) return;
    const password = "correct horse battery";
    const right = basic("ann", password);
    expect((await issue(right)).statuses).toEqual(both(403));

    await latchkey(["users", "add", "ann", "--id", "1", "--password-stdin"], `${password}\n`);
    const { statuses, tokens } = await issue(right);
    expect(statuses).toEqual(both(200));
    expect(decodeJwt(tokens[0] ?? "").sub).toBe("1");

    // A token of one server renews at the other.
    expect((await issue(`Bearer ${tokens[0]}`)).statuses).toEqual(both(200));
    expect((await issue(`Bearer ${tokens[1]}`)).statuses).toEqual(both(200));

    await latchkey(["users", "disable", "ann"]);
    expect((await issue(right)).statuses).toEqual(both(403));
    expect((await issue(`Bearer ${tokens[0]}`)).statuses).toEqual(both(403));
    await latchkey(["users", "enable", "ann"]);
    expect((await issue(`Bearer ${tokens[0]}`)).statuses).toEqual(both(200));

    await latchkey(["users", "revoke", "ann"]);
    expect((await issue(`Bearer ${tokens[0]}`)).statuses).toEqual(both(403));
    const later = await issue(right);
    expect(later.statuses).toEqual(both(200));
    expect((await issue(`Bearer ${later.tokens[0]}`)).statuses).toEqual(both(200));

    const changed = "correct horse staple";
    await latchkey(["users", "passwd", "ann", "--password-stdin"], `${changed}\n`);
    expect((await issue(right)).statuses).toEqual(both(403));
    expect((await issue(`Bearer ${later.tokens[0]}`)).statuses).toEqual(both(403));
    const last = await issue(basic("ann", changed));
    expect(last.statuses).toEqual(both(200));

    await latchkey(["users", "remove", "ann"]);
    expect((await issue(basic("ann", changed))).statuses).toEqual(both(403));
    expect((await issue(`Bearer ${last.tokens[0]}`)).statuses).toEqual(both(403));

    // An _id that is used again inherits no token.
    await latchkey(["users", "add", "bob", "--id", "1", "--password-stdin"], `${password}\n`);
    expect((await issue(`Bearer ${last.tokens[0]}`)).statuses).toEqual(both(403));
  });

  test("both publish one key set, and are ready", async () => {
    if (env === undefined) return;
    const sets = await Promise.all(
      clients.map((client) => client.call("/.well-known/jwks.json", { method: "GET" })),
    );
    expect(sets[0]?.status).toBe(200);
    expect(sets[1]?.body).toBe(sets[0]?.body);
    for (const { managementUrl } of servers) {
      expect((await fetch(`${managementUrl}/readyz`)).status).toBe(200);
      expect((await fetch(`${managementUrl}/livez`)).status).toBe(200);
    }
  });
});
