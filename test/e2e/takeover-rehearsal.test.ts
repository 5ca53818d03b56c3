/**
 * A take-over in a minute: three replicas in front of one old server with 2,000 users, from 0 to 100 per cent with
 * the way back in the middle, and faults throughout. No client sees what the old server alone would not have said.
 */
import { writeFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { decodeJwt } from "jose";
import { basic, createHttpClient, type HttpClient, type Reply } from "../support/http.js";
import type { OldFault } from "../support/old-server.js";
import { eventually } from "../support/server-process.js";
import { startService, type RunningService } from "../support/service.js";
import { useStores } from "../support/stores.js";
import { loginPath, startOldPlace, tokenPath, type OldPlace } from "../support/takeover.js";

const usersMax = 2000;
const callers = 12;
const phaseLogins = 40;

const { newPlace } = useStores();
const passwordOf = (id: number) => `password ${id}`;
let place: OldPlace;
let folder: string;
let env: Record<string, string | undefined>;
const replicas: RunningService[] = [];
const clients: HttpClient[] = [];

beforeAll(async () => {
  const users = Array.from({ length: usersMax }, (_, id) => ({
    ...{ id: String(id), username: `user${id}`, password: passwordOf(id) },
  }));
  place = await startOldPlace(users);
  folder = mkdtempSync(join(tmpdir(), "latchkey-rehearsal-"));
  const keyFile = join(folder, "old.pem");
  writeFileSync(keyFile, place.old.privateKeyPem, { mode: 0o600 });
  env = {
    ...{ ...place.env, ...(await newPlace("mongodb")), SIGNING_KEY_FILE: keyFile },
    ...{ UPSTREAM_TIMEOUT: "1s", UPSTREAM_RECHECK: "1s" },
  };
  for (let count = 0; count < 3; count++) replicas.push(await startService(env, []));
  for (let count = 0; count < callers; count++) {
    clients.push(createHttpClient(replicas[count % 3]?.url ?? ""));
  }
}, 120_000);
afterAll(async () => {
  clients.forEach((client) => client.close());
  for (const replica of replicas) await replica.close();
  await place.remove();
  rmSync(folder, { recursive: true });
});

/** What was seen that the old server alone would not have said, outages apart. */
const wrong: string[] = [];
let outages = 0;
let successes = 0;
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

/** One client's call: mostly a right password, some wrong ones, strangers and renewals, on both paths. */
async function call(client: HttpClient, turn: number): Promise<void> {
  // Names that come often, so that what was learnt is used.
  const id = (turn * 7919) % 97;
  const kind = turn % 8;
  const held = lastTokens.get(id);
  if (kind === 0) {
    const headers = { authorization: basic(`user${id}`, `wrong ${turn}`) };
    judge("a wrong password", await client.call(tokenPath, { headers }), 403);
  } else if (kind === 1) {
    const body = JSON.stringify({ username: `nobody${turn}`, password: "x" });
    judge("an unknown user", await client.call(loginPath, { body }), 401);
  } else if ((kind === 2 || kind === 3) && held !== undefined) {
    const headers = { authorization: `Bearer ${held}` };
    judge("a renewal", await client.call(tokenPath, { headers }), 200);
  } else if (kind === 4) {
    const body = JSON.stringify({ username: `user${id}`, password: passwordOf(id) });
    judge("a login", await client.call(loginPath, { body }), 200);
  } else {
    const headers = { authorization: basic(`user${id}`, passwordOf(id)) };
    const reply = await client.call(tokenPath, { headers });
    if (!judge("a login", reply, 200)) return;
    successes++;
    const { token } = JSON.parse(reply.body) as { token: string };
    if (decodeJwt(token).sub !== String(id)) wrong.push(`user${id} is ${decodeJwt(token).sub}`);
    lastTokens.set(id, token);
  }
}

let turns = 0;
async function phase(percent: number, fault?: OldFault): Promise<void> {
  // Before 100 is felt everywhere the old server still answers some.
  if (percent < 100) lead = percent;
  await replicas[0]?.store.takeover.setLead({ percent, variable: 0 });
  place.old.fault = fault;
  const end = turns + phaseLogins * (fault ? 1 : 2);
  await Promise.all(
    clients.map(async (client) => {
      while (turns < end) await call(client, turns++);
    }),
  );
  place.old.fault = undefined;
  // The old server counts as up again.
  const headers = { authorization: basic("nobody", "x") };
  for (const client of clients.slice(0, 3)) {
    await eventually(
      () => client.call(tokenPath, { headers }),
      ({ status }) => status === 403,
    );
  }
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
  expect(wrong).toEqual([]);
  expect(pages).toBeGreaterThan(0);
  expect(successes).toBeGreaterThan(100);
  expect(outages).toBeGreaterThan(0);
  expect(place.old.data()).toBe(before);

  const { takeover } = replicas[0]?.store ?? {};
  const learnt = [];
  for await (const user of takeover?.list() ?? []) if (user.hash) learnt.push(user.username);
  expect(learnt.length).toBeGreaterThan(40);
  const { finish } = await import("../../src/takeover/finish.js");
  const outcomes: string[] = [];
  const { users } = replicas[0]?.store ?? {};
  if (takeover === undefined || users === undefined) throw new Error("no store");
  await finish({
    store: takeover,
    users,
    dryRun: false,
    onOutcome: (_, each) => void outcomes.push(each),
  });
  expect(new Set(outcomes)).toEqual(new Set(["made"]));
  await place.old.stop();
  const alone = await startService({ ...env, UPSTREAM_URL: "" }, []);
  const client = createHttpClient(alone.url);
  for (const username of learnt) {
    const headers = { authorization: basic(username, passwordOf(Number(username.slice(4)))) };
    expect((await client.call(tokenPath, { headers })).status).toBe(200);
  }
  for (const token of lastTokens.values()) {
    const headers = { authorization: `Bearer ${token}` };
    const { status } = await client.call(tokenPath, { headers });
    expect([200, learnt.includes(`user${decodeJwt(token).sub}`)]).toEqual([status, true]);
  }
  client.close();
  await alone.close();
  await place.old.start();
}, 180_000);
