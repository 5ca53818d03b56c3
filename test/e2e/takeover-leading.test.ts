/** Where Latchkey leads: the old server's second opinion, what is learnt of it, and what its faults do. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { decodeJwt } from "jose";
import { Lead } from "../../src/takeover/lead.js";
import { newUser } from "../support/users.js";
import { basic, createHttpClient, type HttpClient, type Reply } from "../support/http.js";
import type { OldFault } from "../support/old-server.js";
import { eventually } from "../support/server-process.js";
import { startService, type RunningService } from "../support/service.js";
import {
  isIssuedByUs,
  loginPath,
  startOldPlace,
  tokenPath,
  type OldPlace,
} from "../support/takeover.js";

const password = "correct horse";
let place: OldPlace;
/** The clocks of both servers. */
const clock = { now: () => Date.now() + place.old.aheadMs, monotonic: () => performance.now() };
let service: RunningService;
let client: HttpClient;
let names = 0;

beforeAll(async () => {
  place = await startOldPlace([], { tls: true });
  service = await startLeading({});
  client = createHttpClient(service.url);
});
afterAll(async () => {
  client.close();
  await service.close();
  await place.remove();
});
beforeEach(() => {
  (place.old.requests as unknown[]).length = 0;
});
afterEach(async () => {
  place.old.fault = undefined;
  place.old.delayMs = 0;
  // Until the old server counts as up again.
  await eventually(
    () => login(`nobody ${++names}`, "x"),
    ({ status }) => status === 403,
  );
});

function startLeading(env: Record<string, string>, users: Parameters<typeof startService>[1] = []) {
  const leading = {
    ...{ ...place.env, UPSTREAM_LEAD: "100", UPSTREAM_TIMEOUT: "500ms" },
    ...{ THROTTLE_FAILURES: "3", ...env },
  };
  return startService(leading, users, { clock });
}

/** A user of the old server whom nobody has heard of before. */
function newOldUser(): { id: string; username: string; password: string } {
  const id = String(1000 + ++names);
  const user = { id, username: `User${id}`, password };
  place.old.addUser(user);
  return user;
}

const login = (username: string, secret = password, to = client) =>
  to.call(tokenPath, { headers: { authorization: basic(username, secret) } });
const renew = (token: string) =>
  client.call(tokenPath, { headers: { authorization: `Bearer ${token}` } });
const tokenIn = ({ body }: Reply) => (JSON.parse(body) as { token: string }).token;
const asked = () => place.old.requests.length;

describe("a password that only the old server knows", () => {
  test("is learnt: the old server is asked once, and the token is ours", async () => {
    const { id, username } = newOldUser();
    const first = await login(username);
    expect(first.status).toBe(200);
    expect(decodeJwt(tokenIn(first))).toMatchObject({ sub: id, iss: "NomicGameManager.Api" });
    expect(decodeJwt(tokenIn(first))).toHaveProperty("jti");
    expect((await login(username)).status).toBe(200);
    expect(asked()).toBe(1);
    expect(place.old.requests[0]?.headers).toMatchObject({ "x-forwarded-for": "127.0.0.1" });
    expect(await service.store.takeover.findBySubject(id)).toMatchObject({
      ...{ username, names: [username], from: new URL(place.old.url).host },
      hash: expect.stringMatching(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/) as unknown,
    });
    // Not made a user before the end.
    expect(await service.store.users.findByUsername(username)).toBeUndefined();
    // His token is renewed all the same, and the other path knows him.
    expect((await renew(tokenIn(first))).status).toBe(200);
    const body = JSON.stringify({ username, password });
    expect((await client.call(loginPath, { body })).status).toBe(200);
    expect(asked()).toBe(1);
  });

  test("a wrong one is a question each time, and a refusal of that path", async () => {
    const { username } = newOldUser();
    await login(username);
    const before = asked();
    expect((await login(username, "wrong")).status).toBe(403);
    const body = JSON.stringify({ username, password: "wrong" });
    expect((await client.call(loginPath, { body })).status).toBe(401);
    expect(asked()).toBe(before + 2);
    expect(place.old.requests.slice(-2).map(({ url }) => url)).toEqual([tokenPath, loginPath]);
  });

  test("changed there it is learnt anew, and the old one refused", async () => {
    const { username } = newOldUser();
    await login(username);
    place.old.setPassword(username, "another one");
    expect((await login(username, "another one")).status).toBe(200);
    expect((await login(username)).status).toBe(403);
    const before = asked();
    expect((await login(username, "another one")).status).toBe(200);
    expect(asked()).toBe(before);
  });

  test("is asked about again after UPSTREAM_RECHECK: who was disabled or deleted there is refused", async () => {
    const [disabled, deleted, active] = [newOldUser(), newOldUser(), newOldUser()];
    for (const { username } of [disabled, deleted, active]) await login(username);
    place.old.setDisabled(disabled.username, true);
    place.old.removeUser(deleted.username);
    expect((await login(disabled.username)).status).toBe(200);
    place.old.aheadMs += 24 * 3_600_000 + 1000;
    expect((await login(disabled.username)).status).toBe(403);
    expect((await login(deleted.username)).status).toBe(403);
    expect((await login(active.username)).status).toBe(200);
    const before = asked();
    expect((await login(active.username)).status).toBe(200);
    expect(asked()).toBe(before);
    // A no holds while the old server is away, too.
    await place.old.stop();
    expect((await login(disabled.username)).status).toBe(500);
    await place.old.start();
  });

  test("two replicas learn at once; the latest word holds", async () => {
    const other = await startService({ ...place.env, UPSTREAM_LEAD: "100" }, [], {
      clock,
      store: service.store,
    });
    const client2 = createHttpClient(other.url);
    const users = Array.from({ length: 8 }, newOldUser);
    const replies = await Promise.all(
      users.flatMap(({ username }) => [login(username), login(username, password, client2)]),
    );
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]));
    const before = asked();
    for (const { username } of users) expect((await login(username)).status).toBe(200);
    expect(asked()).toBe(before);
    client2.close();
    await other.close();
  });

  test("thirty logins at once ask one question at a time, and all succeed", async () => {
    const { username } = newOldUser();
    place.old.delayMs = 100;
    const clients = Array.from({ length: 30 }, () => createHttpClient(service.url));
    const replies = await Promise.all(clients.map((each) => login(username, password, each)));
    clients.forEach((each) => each.close());
    expect(replies.map(({ status }) => status)).toEqual(replies.map(() => 200));
    expect(asked()).toBeLessThan(15);
  });
});

describe("whatever is no documented answer is store_unavailable, locks nobody and learns nothing", () => {
  test.each<OldFault>([
    ...(["hanging", "status 500", "html", "redirect", "foreign token", "half an answer"] as const),
    ...(["reset", "flood", "no token", "certificate expired"] as const),
    "certificate of a foreign authority",
  ])("%s", async (fault) => {
    const [known, unknown] = [newOldUser(), newOldUser()];
    await login(known.username);
    place.old.fault = fault;
    const before = await service.store.takeover.count();
    // More often than THROTTLE_FAILURES of the service below allows failures.
    for (let count = 0; count < 4; count++) {
      const token = await login(unknown.username);
      expect([token.status, token.headers["retry-after"]]).toEqual([500, "1"]);
    }
    const body = JSON.stringify({ username: unknown.username, password });
    const reply = await client.call(loginPath, { body });
    expect([reply.status, reply.headers["retry-after"]]).toEqual([503, "1"]);
    // Whose hash is known goes on as before, whether the last yes is old or not.
    expect((await login(known.username)).status).toBe(200);
    place.old.aheadMs += 24 * 3_600_000 + 1000;
    expect((await login(known.username)).status).toBe(200);
    expect(await service.store.takeover.count()).toEqual(before);
    // Nothing was counted: the right password is let through at once.
    place.old.fault = undefined;
    await eventually(
      () => login(unknown.username),
      ({ status }) => status !== 500,
    );
    expect((await login(unknown.username)).status).toBe(200);
  });

  test("down, it is spared: one question at a time tries it again", async () => {
    const { username } = newOldUser();
    place.old.fault = "status 500";
    for (let count = 0; count < 6; count++) await login(username);
    const before = asked();
    const clients = Array.from({ length: 20 }, () => createHttpClient(service.url));
    const statuses = await Promise.all(
      clients.map(async (each) => (await login(username, password, each)).status),
    );
    clients.forEach((each) => each.close());
    expect(new Set(statuses)).toEqual(new Set([500]));
    expect(asked() - before).toBeLessThanOrEqual(2);
    place.old.fault = undefined;
    await eventually(
      () => login(username),
      ({ status }) => status === 200,
    );
  });
});

describe("who is known here too", () => {
  test("a usable hash of his own is asked about once; a disabled user stays so", async () => {
    const own = newOldUser();
    const off = newOldUser();
    const { hashPassword } = await import("../../src/auth/passwords/passwords.js");
    const passwordHash = await hashPassword(password);
    const add = ({ id, username }: typeof own, disabled: boolean) =>
      service.store.users.add(
        newUser({ id: { type: "int", value: id }, username, disabled, passwordHash, roles: ["r"] }),
      );
    await add(own, false);
    await add(off, true);
    for (let count = 0; count < 3; count++) {
      const reply = await login(own.username);
      expect(decodeJwt(tokenIn(reply))).toMatchObject({ sub: own.id, roles: ["r"] });
    }
    expect(asked()).toBe(1);
    expect((await login(off.username)).status).toBe(403);
    // The stored hash counts no longer once another password was accepted.
    place.old.setPassword(own.username, "another one");
    expect((await login(own.username, "another one")).status).toBe(200);
    expect((await login(own.username)).status).toBe(403);
    expect((await service.store.users.findByUsername(own.username))?.passwordHash).toBe(
      passwordHash,
    );
  });

  test("under another id there, the old server's subject is his", async () => {
    const there = newOldUser();
    await service.store.users.add(
      newUser({ id: { type: "int", value: "77" }, username: there.username }),
    );
    for (let count = 0; count < 2; count++) {
      expect(decodeJwt(tokenIn(await login(there.username)))).toMatchObject({ sub: there.id });
    }
    expect(asked()).toBe(1);
  });

  test.each(["exact", "ignore-case", "ignore-case-and-accents"])(
    "another spelling is the same user under USERNAME_MATCH=%s",
    async (match) => {
      const { id, username } = newOldUser();
      const other = await startLeading({ USERNAME_MATCH: match }, [
        newUser({ id: { type: "int", value: id }, username, passwordHash: undefined }),
      ]);
      const to = createHttpClient(other.url);
      for (const name of [username, username.toLowerCase(), username.toUpperCase()]) {
        for (let count = 0; count < 2; count++) {
          expect(decodeJwt(tokenIn(await login(name, password, to)))).toMatchObject({ sub: id });
        }
      }
      expect(asked()).toBe(match === "exact" ? 3 : 1);
      to.close();
      await other.close();
    },
  );
});

test("the throttle's law holds for the old server too", async () => {
  const { username } = newOldUser();
  const strict = await startLeading({ THROTTLE_FAILURES: "5" });
  const clients = Array.from({ length: 40 }, () => createHttpClient(strict.url));
  const statuses = await Promise.all(
    clients.map(async (each, index) => (await login(username, `guess ${index}`, each)).status),
  );
  clients.forEach((each) => each.close());
  expect(new Set(statuses)).toEqual(new Set([403, 429]));
  expect(asked()).toBeLessThanOrEqual(10);
  await strict.close();
});

test("a no that comes too late counts, a yes does not", async () => {
  const { username } = newOldUser();
  const slow = await startLeading({ UPSTREAM_TIMEOUT: "300ms" });
  const to = createHttpClient(slow.url);
  const untilUp = () =>
    eventually(
      () => login(`nobody ${++names}`, "x", to),
      ({ status }) => status === 403,
    );
  try {
    place.old.delayMs = 450;
    for (let count = 0; count < 5; count++) {
      expect((await login(username, password, to)).status).toBe(500);
    }
    place.old.delayMs = 0;
    await untilUp();
    expect((await login(username, password, to)).status).toBe(200);
    (place.old.requests as unknown[]).length = 0;
    place.old.delayMs = 450;
    const seen = await eventually(
      () => login(username, "a guess", to),
      ({ status }) => status === 429,
    );
    expect(seen.headers).toHaveProperty("retry-after");
    // THROTTLE_FAILURES is 3.
    expect(place.old.requests.filter((each) => each.username === username).length).toBeLessThan(7);
  } finally {
    place.old.delayMs = 0;
    to.close();
    await slow.close();
  }
});

test("UPSTREAM_LEARN=off asks each time and keeps no hash", async () => {
  const { username, id } = newOldUser();
  const other = await startLeading({ UPSTREAM_LEARN: "off" });
  const to = createHttpClient(other.url);
  for (let count = 0; count < 2; count++) {
    expect((await login(username, password, to)).status).toBe(200);
  }
  expect(asked()).toBe(2);
  expect((await other.store.takeover.findBySubject(id))?.hash).toBeUndefined();
  to.close();
  await other.close();
});

test("the lead is a share of the names, and what takeover lead sets is felt by all within a second", async () => {
  const two = [await startLeading({ UPSTREAM_LEAD: "0" })];
  two.push(
    await startService({ ...place.env, UPSTREAM_LEAD: "0" }, [], {
      store: two[0]?.store as RunningService["store"],
    }),
  );
  const clients = two.map(({ url }) => createHttpClient(url));
  const user = newOldUser();
  const isOurs = async (to: HttpClient) =>
    isIssuedByUs((await login(user.username, password, to)).body);
  for (const to of clients) expect(await isOurs(to)).toBe(false);
  await two[0]?.store.takeover.setLead({ percent: 100, variable: 0 });
  for (const to of clients) await eventually(() => isOurs(to), Boolean, 5000);
  await two[0]?.store.takeover.setLead({ percent: 0, variable: 0 });
  for (const to of clients)
    await eventually(
      () => isOurs(to),
      (ours) => !ours,
      5000,
    );
  clients.forEach((each) => each.close());
  for (const each of two.reverse()) await each.close();
});

test("a greater share holds every smaller one, alike on every replica, and about its size", async () => {
  const options = {
    ...{ secret: () => Promise.resolve(Buffer.alloc(32, 7)), variable: 0 },
    ...{ fold: (name: string) => name, onChange: () => undefined, onError: () => undefined },
  };
  const leadOf = async (percent: number) => {
    const stored = { percent, variable: 0 };
    const store = { lead: () => Promise.resolve(stored), setLead: () => Promise.resolve() };
    const lead = new Lead({ ...options, store });
    await lead.start();
    lead.stop();
    return lead;
  };
  const all = Array.from({ length: 10_000 }, (_, index) => `user ${index}`);
  let before = new Set<string>();
  for (const percent of [0, 1, 10, 50, 99, 100]) {
    const [lead, replica] = [await leadOf(percent), await leadOf(percent)];
    const led = new Set(all.filter((name) => lead.of(name) === "ours"));
    expect(all.every((name) => lead.of(name) === replica.of(name))).toBe(true);
    expect([...before].every((name) => led.has(name))).toBe(true);
    expect(Math.abs(led.size / 100 - percent)).toBeLessThan(1.5);
    before = led;
  }
});
