/** MongoDB absent, frozen and lost: the documented answers in time, and recovery without a restart. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { parseConfig } from "../../src/config/config.js";
import { openStore } from "../../src/store/open-store.js";
import { basic, createHttpClient, type HttpClient, type Reply } from "../support/http.js";
import { expectGolden } from "../support/golden.js";
import { startMongoServer, type MongoServer } from "../support/mongo.js";
import { createAuthClient, transports } from "../support/rpc.js";
import {
  eventually,
  runCommand,
  startServerProcess,
  type ServerProcess,
} from "../support/server-process.js";
import { Code, type ConnectError } from "@connectrpc/connect";
import { RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.js";

const tokenPath = "/api/auth/token";
const loginPath = "/api/v1/authentication/login";
const pair = { username: "ann", password: "correct horse battery" };
/** Longer than any operation's deadline, shorter than a hang. */
const answerMs = 8000;

let mongo: MongoServer | undefined;
let server: ServerProcess;
let client: HttpClient;
beforeAll(async () => {
  mongo = await startMongoServer();
  if (mongo === undefined) return;
  await mongo.stop();
  server = await startServerProcess({ MONGODB_URI: mongo.uri("latchkey") });
  client = createHttpClient(server.url);
});
afterAll(async () => {
  if (mongo === undefined) return;
  client.close();
  await server.stop();
  await mongo.dispose();
});

async function timed<T>(work: Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await work;
  expect(performance.now() - start).toBeLessThan(answerMs);
  return result;
}

const loginCall = { headers: { "content-type": "application/json" }, body: JSON.stringify(pair) };
const byPassword = () =>
  client.call(tokenPath, { headers: { authorization: basic(pair.username, pair.password) } });
const byLogin = () => client.call(loginPath, loginCall);
const bearer = (token: string) =>
  client.call(tokenPath, { headers: { authorization: `Bearer ${token}` } });
const readiness = async () => (await fetch(`${server.managementUrl}/readyz`)).status;
const tokenOf = ({ body }: Reply) => (JSON.parse(body) as { token: string }).token;

/** What every password check answers while the store is lost, on every surface. */
async function expectStoreUnavailable(): Promise<void> {
  const [token, login] = await Promise.all([timed(byPassword()), timed(byLogin())]);
  expectGolden("token-500-store", token);
  expectGolden("login-503-store", login);
  const calls = Object.values(transports).map((createTransport) =>
    timed(
      createAuthClient(createTransport(server.url))
        .login(pair)
        .catch((error: unknown) => error),
    ),
  );
  for (const error of (await Promise.all(calls)) as ConnectError[]) {
    expect(error.code).toBe(Code.Unavailable);
    expect(error.metadata.get("retry-after")).toMatch(/^\d+$/);
    expect(error.findDetails(RetryInfoSchema)[0]?.retryDelay?.seconds).toBeGreaterThan(0n);
  }
  await eventually(readiness, (status) => status === 503);
}

const recovered = () => eventually(byLogin, ({ status }) => status === 200);

describe("MongoDB", () => {
  test("absent at the start: said at once, answered as an outage, recovered from", async () => {
    if (mongo === undefined) return;
    expect(server.lines.map(({ event }) => event)).toContain("started");
    await expectStoreUnavailable();
    await eventually(
      () => Promise.resolve(server.lines),
      (lines) => lines.some(({ event }) => event === "refresh_failed"),
    );
    const store = await openStore(parseConfig({ MONGODB_URI: mongo.uri("latchkey") }));
    const renewal = () => store.users.findBySubject("1").catch((error: unknown) => error);
    // Without a connection a call fails before its work has begun.
    for (let i = 0; i < 3; i++)
      expect(await renewal()).toMatchObject({ code: "store_unavailable" });
    await mongo.start();
    await eventually(renewal, (user) => user === undefined);
    await store.close();
    const added = await runCommand(
      ["users", "add", pair.username, "--password-stdin"],
      { MONGODB_URI: mongo.uri("latchkey") },
      pair.password,
    );
    expect(added).toMatchObject({ exitCode: 0 });
    await recovered();
    await eventually(readiness, (status) => status === 200);
  });

  test("frozen: the same answers within the deadline, and the key set as it was", async () => {
    if (mongo === undefined) return;
    const keys = () => client.call("/.well-known/jwks.json", { method: "GET" });
    // The second key is made in the background.
    const keySet = await eventually(keys, ({ body }) => body.split('"kid"').length === 3);
    const token = tokenOf(await byPassword());
    mongo.freeze();
    try {
      await expectStoreUnavailable();
      expectGolden("token-500-store", await timed(bearer(token)));
      const during = await timed(keys());
      expect([during.status, during.body]).toEqual([200, keySet.body]);
    } finally {
      mongo.thaw();
    }
    await recovered();
    expect((await bearer(token)).status).toBe(200);
  });

  test("lost and back: no wrong verdict in between", async () => {
    if (mongo === undefined) return;
    await mongo.stop();
    await expectStoreUnavailable();
    await mongo.start();
    const statuses = new Set<number>();
    await eventually(byLogin, ({ status }) => (statuses.add(status), status === 200));
    statuses.delete(503);
    expect([...statuses]).toEqual([200]);
  });
});
