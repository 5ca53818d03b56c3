/** Guessing at three servers on one MongoDB, over every surface at once. */
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { Code, ConnectError } from "@connectrpc/connect";
import { basic } from "../support/http.js";
import { startTestMongo, type TestMongo } from "../support/mongo.js";
import { createAuthClient, transports } from "../support/rpc.js";
import { runCommand, startServerProcess, type ServerProcess } from "../support/server-process.js";

jest.setTimeout(180_000);

const password = "correct horse battery";
const limit = 10;
const guesses = 1000;

let mongo: TestMongo | undefined;
let env: Record<string, string>;
let servers: ServerProcess[] = [];
const start = () => Promise.all([1, 2, 3].map(() => startServerProcess(env)));

beforeAll(async () => {
  mongo = await startTestMongo();
  if (mongo === undefined) return;
  // From one address all of them: its own limit must not be what stops them.
  env = { MONGODB_URI: mongo.newDatabase(), THROTTLE_NETWORK_FAILURES: "100000" };
  servers = await start();
  for (const name of ["ann", "bob"]) {
    const added = await runCommand(["users", "add", name, "--password-stdin"], env, password);
    expect(added).toMatchObject({ exitCode: 0 });
  }
});
afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop()));
  await mongo?.dispose();
});

type Verdict = "accepted" | "refused" | "throttled" | "overloaded";
const verdictOfStatus: Readonly<Record<number, Verdict>> = {
  200: "accepted",
  401: "refused",
  403: "refused",
  429: "throttled",
  503: "overloaded",
};
const verdictOfCode: Partial<Record<Code, Verdict>> = {
  [Code.Unauthenticated]: "refused",
  [Code.ResourceExhausted]: "throttled",
  [Code.Unavailable]: "overloaded",
};

/** One attempt of each surface, over each protocol. */
function attemptsAt(url: string) {
  const rest = [
    (username: string, secret: string) =>
      fetch(`${url}/api/auth/token`, {
        method: "POST",
        headers: { authorization: basic(username, secret) },
      }),
    (username: string, secret: string) =>
      fetch(`${url}/api/v1/authentication/login`, {
        method: "POST",
        body: JSON.stringify({ username, password: secret }),
      }),
  ].map((call) => async (username: string, secret: string) => {
    const { status } = await call(username, secret);
    return verdictOfStatus[status] ?? `status ${status}`;
  });
  const rpc = ["Connect, JSON, HTTP/1.1", "gRPC, binary, h2c", "gRPC-Web, binary, h2c"].map(
    (name) => {
      const client = createAuthClient(transports[name]?.(url) ?? fail(name));
      return async (username: string, secret: string) => {
        try {
          await client.login({ username, password: secret });
          return "accepted";
        } catch (error) {
          const { code } = ConnectError.from(error);
          return verdictOfCode[code] ?? `code ${code}`;
        }
      };
    },
  );
  return [...rest, ...rpc];
}

function fail(name: string): never {
  throw new Error(`no transport ${name}`);
}

async function count(attempts: number, username: string, secret: string) {
  const surfaces = servers.flatMap(({ url }) => attemptsAt(url));
  const verdicts = await Promise.all(
    Array.from({ length: attempts }, async (_, i) =>
      surfaces[i % surfaces.length]?.(username, secret),
    ),
  );
  const counts: Record<string, number> = {};
  for (const verdict of verdicts) counts[verdict ?? ""] = (counts[verdict ?? ""] ?? 0) + 1;
  return counts;
}

describe("1,000 wrong guesses at once", () => {
  test.each(["ann", "nobody"])("at %s: at most twice the limit are evaluated", async (username) => {
    if (mongo === undefined) return;
    const {
      refused = 0,
      throttled = 0,
      overloaded = 0,
      ...others
    } = await count(guesses, username, "wrong");
    expect(others).toEqual({});
    expect(refused).toBeGreaterThan(0);
    expect(refused).toBeLessThanOrEqual(2 * limit);
    expect(throttled + overloaded).toBe(guesses - refused);
    // What one server still had to shed is counted all the same.
    expect((await count(15, username, "wrong"))["refused"] ?? 0).toBeLessThanOrEqual(
      2 * limit - refused,
    );
  });

  test("the count outlives all servers, killed and started again", async () => {
    if (mongo === undefined) return;
    await Promise.all(servers.map((server) => server.stop("SIGKILL")));
    servers = await start();
    const verdicts = await count(15, "ann", "wrong");
    expect(verdicts["throttled"]).toBeGreaterThanOrEqual(14);
    expect(verdicts["accepted"]).toBeUndefined();
  });

  test("somebody else logs in meanwhile, a hundred times at once", async () => {
    if (mongo === undefined) return;
    expect(await count(100, "bob", password)).toEqual({ accepted: 100 });
  });
});
