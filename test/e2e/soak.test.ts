/**
 * A fleet that is used and disturbed without a pause: logins, renewals and wrong passwords over every protocol while
 * keys rotate, replicas are replaced and MongoDB elects. Every token is verified, and one replica that is never replaced
 * must need no more memory, descriptors or time at the end than at the beginning.
 *
 *   npm run soak                    for an hour
 *   SOAK_MINUTES=5 npm run soak     for as long as told; slopes are tested from ten minutes on
 */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { Code, ConnectError } from "@connectrpc/connect";
import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { createVerifier, type Verifier } from "../../src/kit/verify/verify.js";
import { startBalancer, type Balancer } from "../support/balancer.js";
import { basic, createHttpClient } from "../support/http.js";
import { startTestMongo, type TestMongo } from "../support/mongo.js";
import { startMongoProxy, type MongoProxy } from "../support/mongo-proxy.js";
import { createAuthClient, transports } from "../support/rpc.js";
import { runCommand, startServerProcess, type ServerProcess } from "../support/server-process.js";
import { testUser } from "../support/service.js";

const minutes = Number(process.env["SOAK_MINUTES"] ?? 0.5);
const durationMs = minutes * 60_000;
const slopesFromMinutes = 10;
/** Between two requests of one client; there are as many clients as protocols. */
const pauseMs = 200;
const electionMs = 1500;
const issuer = "https://soak.example";

let mongo: TestMongo | undefined;
let proxy: MongoProxy | undefined;
let balancer: Balancer | undefined;
const replicas: ServerProcess[] = [];
beforeAll(async () => {
  mongo = await startTestMongo();
});
afterAll(async () => {
  balancer?.close();
  await Promise.all(replicas.map((replica) => replica.stop("SIGKILL")));
  proxy?.close();
  await mongo?.dispose();
});

type Attempt =
  { readonly username: string; readonly password: string } | { readonly token: string };
/** Every other outcome is an error. */
type Outcome = { readonly token: string } | "refused" | "unavailable";
interface Client {
  send(attempt: Attempt): Promise<Outcome>;
  close?(): void;
}

const rightPassword = { username: testUser.username, password: "password" };
const authorizationOf = (attempt: Attempt) =>
  "token" in attempt ? `Bearer ${attempt.token}` : basic(attempt.username, attempt.password);

function restClient(baseUrl: string): Client {
  const client = createHttpClient(baseUrl);
  return {
    async send(attempt) {
      const headers = { authorization: authorizationOf(attempt) };
      const { status, body } = await client.call("/api/auth/token", { headers });
      if (status === 200) return JSON.parse(body) as { token: string };
      if (status === 403) return "refused";
      if (status === 500) return "unavailable";
      throw new Error(`status ${status}`);
    },
    close: () => client.close(),
  };
}

function rpcClient(name: string, baseUrl: string): Client {
  const client = createAuthClient((transports[name] as (url: string) => never)(baseUrl));
  return {
    async send(attempt): Promise<Outcome> {
      try {
        const { accessToken } = await client.issueToken(
          {},
          { headers: { authorization: authorizationOf(attempt) }, timeoutMs: 30_000 },
        );
        return { token: accessToken };
      } catch (error) {
        const { code } = ConnectError.from(error);
        if (code === Code.Unauthenticated) return "refused";
        if (code === Code.Unavailable) return "unavailable";
        // A GOAWAY has refused it; Connect leaves it to its caller to repeat (RFC 9113 section 6.8).
        if (String(error).includes("NGHTTP2_REFUSED_STREAM")) return this.send(attempt);
        throw error;
      }
    },
  };
}

/** Uses the client of one protocol until `signal` aborts, and notes what should not have been. */
async function use(client: Client, verifier: Verifier, tally: Tally, signal: AbortSignal) {
  let token: string | undefined;
  for (let turn = 0; !signal.aborted; turn++) {
    const [kind, attempt]: [string, Attempt] =
      turn % 4 === 3
        ? ["wrong password", { ...rightPassword, username: `nobody${randomInt(1e9)}` }]
        : token !== undefined && turn % 4 > 0
          ? ["renewal", { token }]
          : ["login", rightPassword];
    const sentAt = performance.now();
    try {
      const outcome = await client.send(attempt);
      tally.count(`${kind}: ${typeof outcome === "string" ? outcome : "token"}`);
      if (typeof outcome === "object") {
        tally.times[kind]?.push(performance.now() - sentAt);
        token = outcome.token;
        const { sub } = await verifier.verify(token);
        if (sub !== testUser.id.value) tally.faults.push(`${kind}: a token for ${sub}`);
      }
      const isRight = typeof outcome === "object" ? kind in tally.times : kind === "wrong password";
      if (!isRight && outcome !== "unavailable") tally.faults.push(`${kind} was answered wrongly`);
    } catch (error) {
      tally.faults.push(`${kind}: ${String(error)}`);
    }
    await sleep(pauseMs);
  }
}

class Tally {
  readonly faults: string[] = [];
  readonly counts = new Map<string, number>();
  times: Record<string, number[]> = { login: [], renewal: [] };

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }
}

/** The primary is lost: commands that reach it are carried out, and their connections are lost before the answers. */
async function elect(proxy: MongoProxy): Promise<void> {
  proxy.onCommand = () => "dropped";
  await sleep(electionMs);
  proxy.onCommand = () => "given";
}

const measured = {
  "memory, MiB": (metrics: string) => sample(metrics, "process_resident_memory_bytes") / 2 ** 20,
  "heap, MiB": (metrics: string) => sample(metrics, "nodejs_heap_size_used_bytes") / 2 ** 20,
  descriptors: (metrics: string) => sample(metrics, "process_open_fds"),
};
const sample = (metrics: string, name: string) =>
  Number(new RegExp(`^${name} (.+)$`, "m").exec(metrics)?.[1]);
const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1] ?? NaN;

/** The mean growth over the time that the values cover, in equal steps, and its standard error. */
function growth(values: readonly number[]): { growth: number; error: number } {
  const n = values.length;
  const meanX = (n - 1) / 2;
  const meanY = values.reduce((sum, y) => sum + y, 0) / n;
  const squares = values.reduce((sum, _, x) => sum + (x - meanX) ** 2, 0);
  const slope = values.reduce((sum, y, x) => sum + (x - meanX) * (y - meanY), 0) / squares;
  const rest = values.reduce((sum, y, x) => sum + (y - meanY - slope * (x - meanX)) ** 2, 0);
  return { growth: slope * (n - 1), error: Math.sqrt(rest / (n - 2) / squares) * (n - 1) };
}

test(
  `a fleet for ${minutes} minutes`,
  async () => {
    if (mongo === undefined) return;
    const direct = mongo.newDatabase();
    const through = (proxy = await startMongoProxy(direct));
    const { username, passwordHash } = testUser;
    const row = JSON.stringify({ _id: 1, username, passwordHash });
    const imported = await runCommand(["users", "import", "-"], { MONGODB_URI: direct }, row);
    expect(imported.exitCode).toBe(0);
    const env = {
      MONGODB_URI: through.uri(new URL(direct).pathname.slice(1)),
      TOKEN_ISSUER: issuer,
      TOKEN_TTL: "10s",
      KEY_ROTATION_INTERVAL: "20s",
      SHUTDOWN_DELAY: "1s",
      THROTTLE_NETWORK_FAILURES: "1000000",
      LOG_LEVEL: "info",
      AUDIT_LOG: "off",
    };
    const front = (balancer = await startBalancer());
    const addReplica = async () => {
      const replica = await startServerProcess(env);
      replicas.push(replica);
      await front.add(replica);
      return replica;
    };
    const lasting = await addReplica();
    let [older, newer] = [await addReplica(), await addReplica()];

    const baseUrl = `http://127.0.0.1:${front.port}`;
    const verifier = createVerifier({ issuer, jwksUrl: `${baseUrl}/.well-known/jwks.json` });
    const clients = [
      restClient(baseUrl),
      ...Object.keys(transports).map((name) => rpcClient(name, baseUrl)),
    ];
    const end = new AbortController();
    const tally = new Tally();
    const using = clients.map((client) => use(client, verifier, tally, end.signal));

    const samples: Record<string, number>[] = [];
    const measure = async () => {
      const metrics = await (await fetch(`${lasting.managementUrl}/metrics`)).text();
      const values = Object.entries(measured).map(([name, of]) => [name, of(metrics)]);
      for (const [kind, times] of Object.entries(tally.times)) {
        values.push([`${kind}, ms`, median(times)]);
      }
      tally.times = { login: [], renewal: [] };
      samples.push(Object.fromEntries(values) as Record<string, number>);
    };
    const stopAt = performance.now() + durationMs;
    const stepMs = Math.min(60_000, durationMs / 6);
    for (let step = 0; performance.now() < stopAt; step++) {
      const nextAt = performance.now() + stepMs;
      if (step % 2 === 0) await elect(through);
      else {
        const successor = await addReplica();
        expect(await older.stop()).toBe(0);
        replicas.splice(replicas.indexOf(older), 1);
        [older, newer] = [newer, successor];
      }
      await sleep(Math.max(0, nextAt - performance.now()));
      await measure();
    }
    end.abort();
    await Promise.all(using);
    for (const client of clients) client.close?.();

    const counts = [...tally.counts].sort().map(([what, count]) => `${what}: ${count}\n`);
    process.stderr.write(counts.join(""));
    // The first half warms it up.
    const late = samples.slice(samples.length >> 1);
    const slopes = Object.keys(late[0] ?? {}).map((name) => {
      const values = late.map((values) => values[name] ?? NaN);
      return { name, mean: values.reduce((a, b) => a + b, 0) / values.length, ...growth(values) };
    });
    for (const { name, mean, growth, error } of slopes) {
      const figures = [mean, growth, error].map((value) => value.toFixed(2));
      process.stderr.write(`${name}: ${figures[0]}, grew by ${figures[1]} ± ${figures[2]}\n`);
    }
    expect(tally.faults).toEqual([]);
    for (const kind of ["login", "renewal"]) {
      const [tokens, unavailable] = ["token", "unavailable"].map(
        (outcome) => tally.counts.get(`${kind}: ${outcome}`) ?? 0,
      ) as [number, number];
      expect(tokens).toBeGreaterThan(2 * unavailable);
    }
    if (minutes < slopesFromMinutes) return;
    // Three standard errors, or what one sample in a hundred may differ by.
    expect(slopes.filter(({ mean, growth, error }) => growth > 3 * error + mean / 100)).toEqual([]);
  },
  durationMs + 180_000,
);
