/** New code under load, as operators bring it: no request of a well-behaved client is lost. */
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startBalancer, type Balancer } from "../support/balancer.js";
import { makeCertificate } from "../support/certificates.js";
import { basic, createHttpClient } from "../support/http.js";
import { startMixedLoad, type MixedLoad } from "../support/mixed-load.js";
import { startTestMongo, type TestMongo } from "../support/mongo.js";
import { testUser } from "../support/service.js";
import {
  eventually,
  runCommand,
  startServerProcess,
  type ServerProcess,
} from "../support/server-process.js";

const requestsPerSecond = 300;

let mongo: TestMongo | undefined;
let folder: string;
let certificate: string;
const servers: ServerProcess[] = [];
const balancers: Balancer[] = [];
beforeAll(async () => {
  mongo = await startTestMongo();
  folder = mkdtempSync(join(tmpdir(), "latchkey-rolling-"));
  const { cert, key } = makeCertificate("localhost");
  certificate = cert;
  writeFileSync(join(folder, "cert.pem"), cert);
  writeFileSync(join(folder, "key.pem"), key);
});
afterEach(async () => {
  balancers.splice(0).forEach((balancer) => balancer.close());
  await Promise.all(servers.splice(0).map((server) => server.stop("SIGKILL")));
});
afterAll(async () => {
  await mongo?.dispose();
  rmSync(folder, { recursive: true });
});

async function start(env: Record<string, string>): Promise<ServerProcess> {
  const server = await startServerProcess({ LOG_LEVEL: "info", ...env });
  servers.push(server);
  return server;
}

/** What a cleartext server and one with TLS on the same database need. */
async function environments(uri: string, env: Record<string, string>) {
  const cleartext = { MONGODB_URI: uri, AUDIT_LOG: "off", ...env };
  const tls = {
    ...cleartext,
    TLS_CERT_FILE: join(folder, "cert.pem"),
    TLS_KEY_FILE: join(folder, "key.pem"),
  };
  const { username, passwordHash } = testUser;
  const row = JSON.stringify({ _id: 1, username, passwordHash });
  expect(await runCommand(["users", "import", "-"], cleartext, row)).toMatchObject({ exitCode: 0 });
  return [cleartext, tls] as const;
}

async function tokenOf({ url }: ServerProcess): Promise<string> {
  const client = createHttpClient(url);
  const headers = { authorization: basic("TestUser", "password") };
  const { body } = await client.call("/api/auth/token", { headers });
  client.close();
  return (JSON.parse(body) as { token: string }).token;
}

async function expectNothingLost(load: MixedLoad): Promise<void> {
  await load.stop();
  const rows = [...load.fates].map(([name, { sent, answered, lost }]) => {
    expect(sent).toBeGreaterThan(20);
    return `${name}: ${sent} sent, ${answered} answered, ${lost.length} lost\n`;
  });
  process.stderr.write(`${rows.join("")}${load.repeated()} repeated\n`);
  expect([...load.fates].map(([name, { lost }]) => [name, lost])).toEqual(
    [...load.fates.keys()].map((name) => [name, []]),
  );
  expect(load.repeated()).toBeLessThan(10);
}

test("a rolling restart of 3 replicas behind a load balancer", async () => {
  if (mongo === undefined) return;
  const envs = await environments(mongo.newDatabase(), { SHUTDOWN_DELAY: "1s" });
  const services = await Promise.all(
    envs.map(async (env) => {
      const balancer = await startBalancer();
      balancers.push(balancer);
      const replicas = await Promise.all([start(env), start(env), start(env)]);
      await Promise.all(replicas.map((replica) => balancer.add(replica)));
      return { env, balancer, replicas };
    }),
  );
  const [cleartext, tls] = services;
  const load = startMixedLoad(
    {
      cleartextPort: cleartext?.balancer.port ?? 0,
      tlsPort: tls?.balancer.port ?? 0,
      certificate,
      token: await tokenOf(cleartext?.replicas[0] as ServerProcess),
    },
    requestsPerSecond,
  );
  for (let i = 0; i < 3; i++) {
    for (const { env, balancer, replicas } of services) {
      await balancer.add(await start(env));
      expect(await replicas[i]?.stop()).toBe(0);
    }
  }
  await expectNothingLost(load);
});

test("a SIGHUP of a server with 2 workers", async () => {
  if (mongo === undefined) return;
  const envs = await environments(mongo.newDatabase(), { WORKERS: "2" });
  const [cleartext, tls] = (await Promise.all(envs.map(start))) as [ServerProcess, ServerProcess];
  const load = startMixedLoad(
    {
      cleartextPort: Number(new URL(cleartext.url).port),
      tlsPort: Number(new URL(tls.url).port),
      certificate,
      token: await tokenOf(cleartext),
    },
    requestsPerSecond,
  );
  const isRolled = ({ lines }: ServerProcess) => lines.some(({ event }) => event === "rolled");
  for (const server of [cleartext, tls]) {
    server.child.kill("SIGHUP");
    await eventually(() => Promise.resolve(isRolled(server)), Boolean, 25_000);
  }
  // The old workers are told to stop by then, and drain.
  await new Promise((resolve) => setTimeout(resolve, 3000));
  await expectNothingLost(load);
});
