/**
 * Signing keys of many processes on one MongoDB: rotated every few seconds under load, through kill
 * -9, no verifier that caches as it may ever meets a token that it cannot verify.
 */
import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { decodeJwt, decodeProtectedHeader } from "jose";
import { CachingVerifier } from "../support/caching-verifier.js";
import { basic } from "../support/http.js";
import { startMongoServer, type MongoServer } from "../support/mongo.js";
import {
  eventually,
  runCommand,
  startServerProcess,
  type ServerProcess,
} from "../support/server-process.js";

const password = "correct horse battery";
const rotation = { KEY_ROTATION_INTERVAL: "5s", TOKEN_TTL: "12s", LOG_LEVEL: "info" };

let mongo: MongoServer | undefined;
beforeAll(async () => {
  mongo = await startMongoServer();
});
afterAll(async () => {
  // Only a test that failed has left one.
  await Promise.all(started.map((server) => server.stop("SIGKILL")));
  await mongo?.dispose();
});

const started: ServerProcess[] = [];
async function startServer(env: Readonly<Record<string, string>>): Promise<ServerProcess> {
  const server = await startServerProcess(env);
  started.push(server);
  return server;
}

const stopAll = async (servers: readonly ServerProcess[]) =>
  expect(await Promise.all(servers.map((server) => server.stop()))).toEqual(servers.map(() => 0));

async function keySet(url: string): Promise<string[]> {
  const response = await fetch(`${url}/.well-known/jwks.json`);
  if (!response.ok) return [];
  return ((await response.json()) as { keys: { kid: string }[] }).keys.map(({ kid }) => kid);
}

async function issue(
  url: string,
  authorization: string,
): Promise<{ status: number; token: string }> {
  const response = await fetch(`${url}/api/auth/token`, {
    ...{ method: "POST", headers: { authorization } },
  });
  const text = await response.text();
  const { status } = response;
  return { status, token: status === 200 ? (JSON.parse(text) as { token: string }).token : "" };
}

/** Callers that renew a token of one server at any other, and log in now and then. */
class Load {
  readonly kids = new Set<string>();
  readonly failures: unknown[] = [];
  readonly verifiers: readonly CachingVerifier[];
  issued = 0;
  verified = 0;
  #stopped = false;
  readonly #servers: ServerProcess[];
  readonly #callers: Promise<void>[];

  constructor(servers: ServerProcess[], callers: number) {
    this.#servers = servers;
    const urls = () => servers.map(({ url }) => url);
    this.verifiers = Array.from({ length: 3 }, () => new CachingVerifier(urls));
    this.#callers = Array.from({ length: callers }, () => this.#call());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#callers);
  }

  async #call(): Promise<void> {
    let token = "";
    while (!this.#stopped) {
      const server = this.#servers[randomInt(this.#servers.length)] as ServerProcess;
      const bearer = token !== "" && randomInt(20) > 0;
      const authorization = bearer ? `Bearer ${token}` : basic("ann", password);
      try {
        const reply = await issue(server.url, authorization);
        if (reply.status === 200) token = reply.token;
        else this.failures.push(["status", reply.status, bearer]);
        this.issued++;
        if (reply.status === 200) await this.#verifyUntilExpiry(reply.token);
      } catch (error) {
        // What was under way at a process that was killed is nobody's fault.
        if (this.#servers.includes(server)) this.failures.push(["request", String(error)]);
      }
      await sleep(randomInt(100, 300));
    }
  }

  /** At once, and of some tokens once more when they have all but expired. */
  async #verifyUntilExpiry(token: string): Promise<void> {
    this.kids.add(decodeProtectedHeader(token).kid ?? "");
    await this.#verify(token);
    if (randomInt(10) > 0) return;
    const leftMs = (decodeJwt(token).exp ?? 0) * 1000 - Date.now();
    setTimeout(() => void this.#verify(token), leftMs - 500).unref();
  }

  async #verify(token: string): Promise<void> {
    const verifier = this.verifiers[randomInt(this.verifiers.length)];
    await verifier?.verify(token).then(
      () => this.verified++,
      (error: unknown) => void this.failures.push(["verify", String(error)]),
    );
  }
}

test("rotations under load and kill -9: nothing unverifiable, no request failed", async () => {
  if (mongo === undefined) return;
  const env = { ...rotation, MONGODB_URI: mongo.uri("fleet") };
  await runCommand(["users", "add", "ann", "--password-stdin"], env, password);
  const servers = await Promise.all([1, 2, 3].map(() => startServer(env)));
  for (const { url } of servers) {
    await eventually(
      () => keySet(url),
      (kids) => kids.length >= 2,
    );
  }
  const load = new Load(servers, 8);
  await sleep(15_000);

  const [killed] = servers.splice(randomInt(servers.length), 1);
  await killed?.stop("SIGKILL");
  await sleep(3000);
  servers.push(await startServer(env));
  await sleep(20_000);

  const signing = await load
    .stop()
    .then(() => issue(servers[0]?.url ?? "", basic("ann", password)));
  expect(signing.status).toBe(200);
  process.stderr.write(
    `${load.issued} tokens by ${load.kids.size} keys, verified ${load.verified} times, ${load.verifiers.map(({ fetched }) => fetched).join("+")} key sets fetched\n`,
  );
  expect([load.failures.length, load.failures.slice(0, 5)]).toEqual([0, []]);
  // A rotation takes 5 s and the noise of the machine.
  expect(load.kids.size).toBeGreaterThanOrEqual(4);
  expect(load.issued).toBeGreaterThan(300);
  await stopAll(servers);
});

test("ten servers started at once on an empty store: one identical key set; a revocation reaches all", async () => {
  if (mongo === undefined) return;
  const env = { MONGODB_URI: mongo.uri("ten"), LOG_LEVEL: "info" };
  const servers = await Promise.all(Array.from({ length: 10 }, () => startServer(env)));
  const keySets = () => Promise.all(servers.map(({ url }) => keySet(url)));
  const sets = await eventually(keySets, (all) => all.every((kids) => kids.length === 2), 60_000);
  expect(new Set(sets.map(String)).size).toBe(1);
  // Nobody ever published another one.
  const told = servers.flatMap(({ lines }) => lines.filter(({ elsewhere }) => !elsewhere));
  expect(told.filter(({ event }) => event === "key_signing")).toHaveLength(1);
  expect(told.filter(({ event }) => event === "key_published")).toHaveLength(1);

  await runCommand(["users", "add", "ann", "--password-stdin"], env, password);
  const { token } = await issue(servers[0]?.url ?? "", basic("ann", password));
  const kid = decodeProtectedHeader(token).kid ?? "";
  const everywhere = () =>
    Promise.all(servers.map(async ({ url }) => (await issue(url, `Bearer ${token}`)).status));
  expect(await everywhere()).toEqual(servers.map(() => 200));
  const startedAt = performance.now();
  expect((await runCommand(["keys", "revoke", kid], env)).exitCode).toBe(0);
  process.stderr.write(`revoked in ${Math.round(performance.now() - startedAt)} ms\n`);
  expect(await everywhere()).toEqual(servers.map(() => 403));
  for (const kids of await keySets()) expect(kids).not.toContain(kid);
  await stopAll(servers);
});
