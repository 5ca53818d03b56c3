/**
 * A take-over in a minute: three replicas in front of one old server with 2,000 users, from 0 to 100 per cent with
 * the way back in the middle, and faults throughout. No client sees what the old server alone would not have said.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { decodeJwt } from "jose";
import type { Environment } from "../../src/config/config.js";
import type { AppDeps } from "../../src/app/app.js";
import { verifyPassword } from "../../src/auth/passwords/passwords.js";
import { basic, createHttpClient, type HttpClient, type Reply } from "../support/http.js";
import type { OldFault } from "../support/old-server.js";
import { runCommand } from "../support/server-process.js";
import { startService } from "../support/service.js";
import { useStores } from "../support/stores.js";
import {
  cheapHash,
  loginPath,
  tokenIn,
  tokenPath,
  useOldServer,
  type Front,
} from "../support/takeover.js";
import { newUser } from "../support/users.js";

const usersMax = 2000;
const callers = 12;
const phaseCalls = 100;

const passwordOf = (id: number) => `password ${id}`;
const users = Array.from({ length: usersMax }, (_, id) => ({
  ...{ id: String(id), username: `user${id}`, password: passwordOf(id) },
}));
const { newPlace } = useStores();
const place = useOldServer({ users });
const folder = mkdtempSync(join(tmpdir(), "latchkey-rehearsal-"));
let env: Environment;
const replicas: Front[] = [];
const clients: HttpClient[] = [];
/** Hashes as Latchkey makes them would take minutes. */
const deps: Partial<AppDeps> = { newHash: (text) => Promise.resolve(cheapHash(text)) };

beforeAll(async () => {
  const keyFile = join(folder, "old.pem");
  writeFileSync(keyFile, place.old.privateKeyPem, { mode: 0o600 });
  env = {
    ...{ ...place.env, ...(await newPlace("mongodb")), SIGNING_KEY_FILE: keyFile },
    ...{ UPSTREAM_TIMEOUT: "1s", UPSTREAM_RECHECK: "1s", REHASH: "off" },
    THROTTLE_NETWORK_FAILURES: "1000000",
  };
  // A user with a hash that no password fits, so that decoys are cheap, too.
  const own = newUser({
    id: { type: "int", value: "9999" },
    username: "forgotten",
    passwordHash: cheapHash("forgotten"),
  });
  for (let count = 0; count < 3; count++) {
    replicas.push(await place.start(env, count === 0 ? [own] : [], deps));
  }
  for (let count = 0; count < callers; count++) {
    clients.push(createHttpClient(replicas[count % 3]?.url ?? ""));
  }
}, 120_000);
afterAll(() => {
  clients.forEach((client) => client.close());
  rmSync(folder, { recursive: true });
});

/** What was seen that the old server alone would not have said, outages apart. */
const wrong: string[] = [];
let outages = 0;
const lastTokens = new Map<number, string>();

/** Pages of the old server's own, which it alone would have sent too. */
let pages = 0;
let lead = 0;

/** Whether it was a login that has succeeded. */
function judge(what: string, { status, body }: Reply, expected: number): boolean {
  const isPage = lead < 100 && (body === "<h1>Welcome</h1>" || status === 302);
  if (isPage) pages++;
  else if (status === 500 || status === 503) outages++;
  else if (status !== expected) wrong.push(`${what}: ${status}, not ${expected}`);
  return status === 200 && !isPage;
}

/** Those who have not been let in yet. */
const waiting = users.map((_, id) => id);

/** One client's call: mostly a right password, some wrong ones, strangers and renewals, on both paths. */
async function call(client: HttpClient, turn: number): Promise<void> {
  const kind = turn % 8;
  // Half of the calls are of a few users who come often, so that what was learnt is used.
  const often = (turn * 7919) % 97;
  const held = lastTokens.get(often);
  if (kind === 0) {
    const headers = { authorization: basic(`user${often}`, `wrong ${turn}`) };
    judge("a wrong password", await client.call(tokenPath, { headers }), 403);
  } else if (kind === 1) {
    const body = JSON.stringify({ username: `nobody${turn}`, password: "x" });
    judge("an unknown user", await client.call(loginPath, { body }), 401);
  } else if (kind === 2 && held !== undefined) {
    const headers = { authorization: `Bearer ${held}` };
    judge("a renewal", await client.call(tokenPath, { headers }), 200);
  } else if (kind < 4) {
    await login(client, often, kind === 3);
  } else {
    const next = waiting.shift();
    if (!(await login(client, next ?? often, kind === 4)) && next !== undefined) waiting.push(next);
  }
}

/** Whether it has succeeded. */
async function login(client: HttpClient, id: number, byJson: boolean): Promise<boolean> {
  const [username, password] = [`user${id}`, passwordOf(id)];
  if (byJson) {
    const body = JSON.stringify({ username, password });
    return judge("a login", await client.call(loginPath, { body }), 200);
  }
  const headers = { authorization: basic(username, password) };
  const reply = await client.call(tokenPath, { headers });
  if (!judge("a login", reply, 200)) return false;
  const token = tokenIn(reply);
  if (decodeJwt(token).sub !== String(id)) wrong.push(`${username} is ${decodeJwt(token).sub}`);
  lastTokens.set(id, token);
  return true;
}

const atOnce = (work: (client: HttpClient) => Promise<void>) => Promise.all(clients.map(work));

let turns = 0;
async function phase(percent: number, fault?: OldFault): Promise<void> {
  // Before 100 is felt everywhere the old server still answers some.
  if (percent < 100) lead = percent;
  await replicas[0]?.store.takeover.setLead({ percent, variable: 0 });
  place.old.fault = fault;
  // Calls that the old server answers alone are cheap.
  const end = turns + phaseCalls * (fault ? 1 : percent === 0 ? 12 : 2);
  await atOnce(async (client) => {
    while (turns < end) await call(client, turns++);
  });
  place.old.fault = undefined;
  for (const replica of replicas) await replica.untilUp();
}

test("from 0 to 100 per cent and back, with faults throughout", async () => {
  const before = place.old.data();
  await phase(0);
  await phase(0, "hanging");
  await phase(1);
  await phase(25, "status 500");
  await phase(50);
  await phase(50, "html");
  await phase(0);
  await phase(75, "reset");
  await phase(100);
  lead = 100;
  await phase(100, "redirect");
  await phase(100, "foreign token");
  await phase(100);
  await atOnce(async (client) => {
    for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
      if (!(await login(client, id, false))) waiting.push(id);
    }
  });
  expect(wrong).toEqual([]);
  expect(pages).toBeGreaterThan(0);
  expect(outages).toBeGreaterThan(0);
  expect(lastTokens.size).toBeGreaterThan(0.8 * usersMax);
  expect(place.old.data()).toBe(before);

  const learnt = new Set<number>();
  for await (const { hash, subject } of replicas[0]?.store.takeover.list() ?? []) {
    if (hash !== undefined) learnt.add(Number(subject));
  }
  expect(learnt.size).toBeGreaterThan(0.9 * usersMax);
  const command = ["takeover", "finish", "--yes", "--json"];
  const { exitCode, stdout } = await runCommand(command, env as Record<string, string>);
  expect([exitCode, JSON.parse(stdout)]).toMatchObject([0, { made: learnt.size, left: [] }]);
  await place.old.stop();
  const alone = await startService({ ...env, UPSTREAM_URL: "" }, []);
  clients.forEach((client) => client.close());
  for (const index of clients.keys()) clients[index] = createHttpClient(alone.url);
  lead = 100;
  outages = 0;
  // All of them by the stored hash, and those who come often by a login.
  for await (const { id, passwordHash } of alone.store.users.list()) {
    if (!learnt.delete(Number(id.value))) continue;
    expect(await verifyPassword(passwordHash, passwordOf(Number(id.value)))).toBe(true);
  }
  expect(learnt).toEqual(new Set());
  for (let id = 0; id < 97; id++) await login(clients[id % callers] as HttpClient, id, false);
  for (const token of [...lastTokens.values()].slice(0, 200)) {
    const headers = { authorization: `Bearer ${token}` };
    judge("a renewal", (await clients[0]?.call(tokenPath, { headers })) as Reply, 200);
  }
  expect([wrong, outages]).toEqual([[], 0]);
  await alone.close();
  await place.old.start();
}, 180_000);
