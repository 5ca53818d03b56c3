/** Guessing at three servers on one MongoDB behind a proxy, over every surface at once. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { basic } from "../support/http.js";
import { startTestMongo, type TestMongo } from "../support/mongo.js";
import { createAuthClient, transports } from "../support/rpc.js";
import {
  eventually,
  runCommand,
  startServerProcess,
  type ServerProcess,
} from "../support/server-process.js";

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
  // From one address the first of them: its own limit must not be what stops them.
  env = {
    MONGODB_URI: mongo.newDatabase(),
    THROTTLE_NETWORK_FAILURES: "100000",
    TRUST_PROXY: "1",
  };
  servers = await start();
  for (const name of ["ann", "bob", "cat"]) {
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
    const { status, headers } = await call(username, secret);
    // On this path a store that is too slow for so much at once is a 500, which tells when to come back.
    if (status === 500 && headers.has("retry-after")) return "overloaded";
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
    // A store that is too slow for so many at once says when to come back: whoever does gets in.
    let accepted = 0;
    while (accepted < 100) {
      const counts = await count(100 - accepted, "bob", password);
      expect(Object.keys(counts)).not.toContain("refused");
      expect(Object.keys(counts)).not.toContain("throttled");
      expect(counts["accepted"]).toBeGreaterThan(0);
      accepted += counts["accepted"] ?? 0;
    }
  });
});

describe("the victim of an attack from many networks", () => {
  const home = "203.0.113.7";
  let attempts = 0;
  const loginFrom = async (address: string, secret: string) => {
    const { url = "" } = servers[attempts++ % servers.length] ?? {};
    const answer = await fetch(`${url}/api/auth/token`, {
      method: "POST",
      headers: { authorization: basic("cat", secret), "x-forwarded-for": address },
    });
    const retryAfterSeconds = Number(answer.headers.get("retry-after"));
    return { verdict: verdictOfStatus[answer.status], retryAfterSeconds };
  };

  /** Guesses, ten at a time, each from the next of 200 networks; `stop` resolves once all are answered. */
  function startAttack() {
    const counts: Partial<Record<Verdict, number>> = {};
    let guesses = 0;
    let isOver = false;
    const attacker = async () => {
      while (!isOver) {
        const { verdict = "overloaded" } = await loginFrom(
          `198.51.100.${guesses++ % 200}`,
          "wrong",
        );
        counts[verdict] = (counts[verdict] ?? 0) + 1;
      }
    };
    const attackers = Array.from({ length: 10 }, attacker);
    const stop = () => {
      isOver = true;
      return Promise.all(attackers);
    };
    return { counts, stop };
  }

  test("gets in at once from home, and from elsewhere within a minute of the last failure", async () => {
    if (mongo === undefined) return;
    expect((await loginFrom(home, password)).verdict).toBe("accepted");
    const attack = startAttack();
    await eventually(
      () => Promise.resolve(attack.counts.throttled ?? 0),
      (throttled) => throttled > 100,
      60_000,
    );
    const logins = await Promise.all(
      Array.from({ length: 10 }, async (_, i) => {
        await sleep(i * 100);
        return (await loginFrom(home, password)).verdict;
      }),
    );
    const elsewhere = await loginFrom("192.0.2.77", password);
    await attack.stop();

    expect(logins).toEqual(Array(10).fill("accepted"));
    // All that were evaluated: the limit for all networks together, and one a minute.
    expect(attack.counts.refused).toBeGreaterThanOrEqual(100);
    expect(attack.counts.refused).toBeLessThanOrEqual(2 * 100);
    expect(attack.counts.accepted).toBeUndefined();
    expect(elsewhere.verdict).toBe("throttled");
    const { verdict, retryAfterSeconds } = await loginFrom("192.0.2.78", password);
    expect(verdict).toBe("throttled");
    expect(retryAfterSeconds).toBeGreaterThan(0);
    expect(retryAfterSeconds).toBeLessThanOrEqual(60);
    await sleep(retryAfterSeconds * 1000);
    expect((await loginFrom("192.0.2.78", password)).verdict).toBe("accepted");
  });
});
