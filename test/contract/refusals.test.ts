/** What MongoDB refuses for good is named as that, with what mends it, and is not asked for again. */
import { once } from "node:events";
import { createServer, type AddressInfo, type Server } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { MongoClient, type Db, type Document } from "mongodb";
import { openMongoStore } from "../../src/store/mongo/mongo-store.js";
import { makeCertificate } from "../support/certificates.js";
import {
  commandName,
  startMongoProxy,
  type Answer,
  type MongoProxy,
} from "../support/mongo-proxy.js";
import { startMongoServer, type MongoServer } from "../support/mongo.js";
import { runProgram } from "../support/program.js";
import { eventually, startServerProcess } from "../support/server-process.js";

let server: MongoServer | undefined;
let proxy: MongoProxy;
let client: MongoClient;
let db: Db;
let databases = 0;
beforeAll(async () => {
  server = await startMongoServer();
  if (server === undefined) throw new Error("these tests need MongoDB");
  proxy = await startMongoProxy(server.uri(""));
  client = new MongoClient(server.uri(""));
});
afterAll(async () => {
  await client.close();
  proxy.close();
  await server?.dispose();
});
beforeEach(() => {
  db = client.db(`refusals_${databases++}`);
});
afterEach(async () => {
  proxy.onCommand = () => "given";
  await failing("off");
});

const env = () => ({ MONGODB_URI: proxy.uri(db.databaseName) });
const latchkey = async (...argv: string[]) => {
  const input = "a password that is long enough";
  const { code, stdout, stderr } = await runProgram(argv, { env: env(), input });
  return { code, said: stdout + stderr };
};

/** Answers a command in MongoDB's place. Returns how often that was asked. */
function answering(name: string, answer: Answer) {
  let asked = 0;
  proxy.onCommand = (command) => {
    if (commandName(command) !== name) return "given";
    asked++;
    return answer;
  };
  return () => asked;
}

const failing = (mode: unknown, data: Document = {}) =>
  client.db("admin").command({ configureFailPoint: "failCommand", mode, data });

/** Has MongoDB refuse a command. */
const refusing = (command: string, errorCode: number) =>
  failing("alwaysOn", { failCommands: [command], errorCode });

describe("a unique index that a sharded collection cannot have", () => {
  test("does not keep users out, and is asked for once by a process", async () => {
    await refusing("createIndexes", 67);
    const asked = answering("createIndexes", "given");
    const store = openMongoStore({
      uri: env().MONGODB_URI,
      usersCollection: "users",
      fields: {
        ...{ username: "username", password: "passwordHash", disabled: "disabled" },
        ...{ roles: "roles", tokensValidAfter: "tokensValidAfter" },
      },
    });
    for (let i = 0; i < 20; i++) await store.users.findByUsername(`user${i}`);
    const [warning] = await store.warnings();
    await store.close();
    expect(warning).toContain("a sharded collection can have a unique index on its shard key");
    // One attempt tries the plain index, then the one that leaves out documents without a name.
    expect(asked()).toBe(2);
  });

  test("is named by doctor --fix, and users are added and found without it", async () => {
    await refusing("createIndexes", 67);
    expect(await latchkey("users", "add", "ann", "--password-stdin")).toMatchObject({ code: 0 });
    const { code, said } = await latchkey("doctor", "--fix");
    expect([code, said]).toEqual([1, expect.stringContaining("a sharded collection can have")]);
    expect(said).not.toContain("does not answer");
  });
});

test("a validator of the collection refuses by name and line, and lets in whom it can", async () => {
  const validator = {
    $jsonSchema: { required: ["roles"], properties: { roles: { maxItems: 1 } } },
  };
  await db.createCollection("users", { validator });
  expect(await latchkey("users", "add", "ann", "--role", "a", "--password-stdin")).toMatchObject({
    code: 0,
  });
  const rule = "the document does not meet the validation rules of the collection";
  const roles = ["--role", "a", "--role", "b"];
  for (const argv of [
    ["users", "add", "bob", ...roles, "--password-stdin"],
    ["users", "set", "ann", ...roles],
  ]) {
    const { code, said } = await latchkey(...argv);
    expect([code, said]).toEqual([1, expect.stringContaining(`"${argv[2]}": ${rule}`)]);
  }
  const input =
    '{"_id":1,"username":"carl","roles":["a","b"]}\n{"_id":2,"username":"dan","roles":["a"]}\n';
  const { code, stdout, stderr } = await runProgram(["users", "import", "-"], {
    env: env(),
    input,
  });
  expect([code, stderr]).toEqual([
    1,
    expect.stringContaining("line 1: does not meet the validation rules"),
  ]);
  expect(stdout).toContain("1 added, 0 replaced, 0 skipped, 1 rejected");
  expect(await db.collection("users").distinct("username")).toEqual(["ann", "dan"]);
});

test.each([
  ["users", "add", "bob", "--password-stdin"],
  ["users", "set", "ann", "--role", "b"],
  ["users", "passwd", "ann", "--password-stdin"],
  ["users", "disable", "ann"],
  ["users", "revoke", "ann"],
])("what a validator refuses to %s %s is recorded as nothing", async (...argv) => {
  await latchkey("users", "add", "ann", "--password-stdin");
  const { _id, ...ann } = (await db.collection("users").findOne()) ?? {};
  const fields = Object.entries(ann).map(([name, value]) => ({
    [name]: { $eq: value as unknown },
  }));
  await db.command({ collMod: "users", validator: { $and: [...fields, { disabled: null }] } });
  const { code, said } = await latchkey(...argv);
  expect([code, said]).toEqual([1, expect.stringContaining("validation rules")]);
  expect(await db.collection("users").find().toArray()).toEqual([{ _id, ...ann }]);
  const recorded = await db.collection("latchkey_audit").find().sort({ _id: 1 }).toArray();
  expect(recorded.map(({ outcome }) => outcome as string)).toEqual(["done", "nothing"]);
});

test("a role that may not list the indexes is told so, and the rest is looked at", async () => {
  await db.collection("users").insertOne({ username: "ann" });
  await refusing("listIndexes", 13);
  const { said } = await latchkey("doctor");
  expect(said).toContain("may not list the indexes: grant listIndexes");
  expect(said).toContain("0 of 1 users can log in");
});

test("a role that lacks privileges is told which, on which collection", async () => {
  await db.collection("users").insertOne({ username: "ann" });
  const resource = { db: db.databaseName, collection: "" };
  const grant = (actions: readonly string[], collection = "") => ({
    resource: { ...resource, collection },
    actions,
  });
  const all = ["find", "insert", "update", "remove", "createIndex"];
  const authInfo = {
    authenticatedUsers: [{ user: "latchkey", db: "admin" }],
    authenticatedUserPrivileges: [
      grant(["find"]),
      ...["latchkey_keys", "latchkey_throttle"].map((name) => grant(all, name)),
    ],
  };
  answering("connectionStatus", { ok: 1, authInfo });
  const { code, said } = await latchkey("doctor");
  const missing = "insert, update, remove, createIndex on ";
  expect(code).toBe(1);
  expect(said).toContain(`lacks update on users; ${missing}latchkey_audit\n`);
  expect(said).toContain(`${missing}latchkey_revocations, for REVOCATIONS\n`);
});

test("an index that leaves out documents without a username is made where others are there", async () => {
  await db
    .collection("users")
    .insertMany([{ username: "ann" }, { email: "a@example.com" }, { email: "b@example.com" }]);
  expect((await latchkey("doctor", "--fix")).said).toContain("made the unique index on username");
  const indexes = await db.collection("users").indexes();
  expect(indexes).toContainEqual(expect.objectContaining({ unique: true, sparse: true }));
  expect((await latchkey("doctor")).said).toContain("a unique index on username of users");
});

test("a server that is too old is named with its version, and one that the driver refuses", async () => {
  await db.collection("users").insertOne({ username: "ann" });
  answering("buildInfo", { ok: 1, version: "4.2.24" });
  const old = await latchkey("doctor");
  expect([old.code, old.said]).toEqual([1, expect.stringContaining("MongoDB 4.2.24")]);
  expect(old.said).toContain("the oldest version that Latchkey is made for is 4.4");
  const hello = await client.db("admin").command({ hello: 1 });
  const oldHello = { ...hello, topologyVersion: undefined, minWireVersion: 0, maxWireVersion: 6 };
  proxy.onCommand = (command) =>
    /^(hello|ismaster)$/i.test(commandName(command)) ? oldHello : "given";
  const { code, said } = await latchkey("users", "list");
  expect([code, said]).toEqual([1, expect.stringContaining("4.4 is the oldest one")]);
});

describe("what the connection string asks for in vain", () => {
  test.each([
    ["replicaSet=other", "no server of MONGODB_URI belongs to the replica set that it names"],
    ["authMechanism=MONGODB-AWS", "npm install @aws-sdk/credential-providers"],
    ["authMechanism=GSSAPI&authSource=$external", "npm install kerberos", "me%40EXAMPLE.COM@"],
    ["compressors=zstd", "npm install @mongodb-js/zstd"],
    ["compressors=snappy", "npm install snappy"],
    ["proxyHost=127.0.0.1", "npm install socks"],
  ])("%s", async (options, message, user = "") => {
    const MONGODB_URI = `${server?.uri("app")}?${options}`.replace("//", `//${user}`);
    const { code, stderr } = await runProgram(["users", "list"], { env: { MONGODB_URI } });
    expect([code, stderr]).toEqual([1, expect.stringContaining(message)]);
  });

  /** What a command says of a server at whose end TLS is otherwise. */
  async function saidOf(listener: Server, options: string): Promise<string> {
    await once(listener.listen(0, "127.0.0.1"), "listening");
    const { port } = listener.address() as AddressInfo;
    const MONGODB_URI = `mongodb://127.0.0.1:${port}/app${options}`;
    const { code, stderr } = await runProgram(["users", "list"], { env: { MONGODB_URI } });
    listener.close();
    expect(code).toBe(1);
    return stderr;
  }

  test("a certificate that is not trusted", async () => {
    const listener = createTlsServer(makeCertificate("database"));
    expect(await saidOf(listener, "?tls=true")).toContain("do not agree on TLS: ");
  });

  // As mongod does with what is no message.
  test("TLS of a server that has none", async () => {
    const listener = createServer((socket) => socket.on("data", () => socket.destroy()));
    expect(await saidOf(listener, "?tls=true")).toContain("do not agree on TLS: ");
  });

  test("no TLS of a server that has it", async () => {
    const listener = createTlsServer(makeCertificate("database"));
    expect(await saidOf(listener, "")).toContain("closes the connection before it answers");
  });

  test("is the cause in the log of a server, once", async () => {
    const latchkey = await startServerProcess({
      MONGODB_URI: `${server?.uri("app")}?replicaSet=other`,
    });
    const failures = () => latchkey.lines.filter(({ event }) => event === "refresh_failed");
    try {
      await eventually(
        () => Promise.resolve(failures()),
        (lines) => lines.length > 0,
      );
      expect(JSON.stringify(failures()[0])).toContain("belongs to the replica set that it names");
      const rounds = async () => {
        const metrics = await (await fetch(`${latchkey.managementUrl}/metrics`)).text();
        const counts = metrics.matchAll(/^latchkey_store_errors_total\{.*\} (\d+)$/gm);
        return Array.from(counts, ([, count]) => Number(count)).reduce(
          (sum, each) => sum + each,
          0,
        );
      };
      const before = await rounds();
      await eventually(rounds, (count) => count >= before + 3);
      expect(failures()).toHaveLength(1);
    } finally {
      await latchkey.stop();
    }
  });
});
