/** Where Latchkey leads: the old server's second opinion, what is learnt of it, and what its faults do. */
import { beforeAll, describe, expect, test } from "@jest/globals";
import { decodeJwt } from "jose";
import { hashPassword } from "../../src/auth/passwords/passwords.js";
import type { Environment } from "../../src/config/config.js";
import { Lead } from "../../src/takeover/lead.js";
import { newUser } from "../support/users.js";
import { basic, createHttpClient, type HttpClient } from "../support/http.js";
import type { OldFault, OldUser } from "../support/old-server.js";
import { eventually } from "../support/server-process.js";
import { useStores } from "../support/stores.js";
import {
  cheapHash,
  isIssuedByUs,
  loginPath,
  password,
  tokenIn,
  tokenPath,
  useOldServer,
  type Front,
} from "../support/takeover.js";

const { newPlace } = useStores();
const place = useOldServer({ tls: true });
let service: Front;
beforeAll(async () => {
  service = await startLeading({});
});

function startLeading(
  env: Environment,
  users: Parameters<typeof place.start>[1] = [],
  deps: Parameters<typeof place.start>[2] = {},
) {
  const leading = { UPSTREAM_LEAD: "100", UPSTREAM_TIMEOUT: "500ms", THROTTLE_FAILURES: "3" };
  return place.start({ ...leading, ...env }, users, deps);
}

const newHash = (text: string) => Promise.resolve(cheapHash(text));
/** The user with another, cheap hash in Latchkey's store, so that hashes take no time in a test of many logins. */
const forgotten = ({ id, username }: OldUser) =>
  newUser({ id: { type: "int", value: id }, username, passwordHash: cheapHash("forgotten") });

/** At once, each by a client of its own. */
async function loginMany(to: Front, pairs: readonly (readonly [string, string])[]) {
  const clients = pairs.map(() => createHttpClient(to.url));
  const replies = await Promise.all(
    pairs.map(([username, secret], index) => to.login(username, secret, clients[index])),
  );
  clients.forEach((each) => each.close());
  return replies.map(({ status }) => status);
}

const asked = () => place.old.requests.length;

describe("a password that only the old server knows", () => {
  test("is learnt: the old server is asked once, and the token is ours", async () => {
    const { id, username } = place.newUser();
    const first = await service.login(username);
    expect(first.status).toBe(200);
    expect(decodeJwt(tokenIn(first))).toMatchObject({ sub: id, iss: "NomicGameManager.Api" });
    expect(decodeJwt(tokenIn(first))).toHaveProperty("jti");
    expect((await service.login(username)).status).toBe(200);
    expect(asked()).toBe(1);
    expect(place.old.requests[0]?.headers).toMatchObject({ "x-forwarded-for": "127.0.0.1" });
    expect(await service.store.takeover.findBySubject(id)).toMatchObject({
      ...{ username, names: [username], from: new URL(place.old.url).host },
      hash: expect.stringMatching(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/) as unknown,
    });
    // Not made a user before the end.
    expect(await service.store.users.findByUsername(username)).toBeUndefined();
    // His token is renewed all the same, and the other path knows him.
    expect((await service.renew(tokenIn(first))).status).toBe(200);
    expect((await service.loginByJson(username)).status).toBe(200);
    expect(asked()).toBe(1);
  });

  test("a wrong one is a question each time, and a refusal of that path", async () => {
    const { username } = place.newUser();
    await service.login(username);
    const before = asked();
    expect((await service.login(username, "wrong")).status).toBe(403);
    expect((await service.loginByJson(username, "wrong")).status).toBe(401);
    expect(asked()).toBe(before + 2);
    expect(place.old.requests.slice(-2).map(({ url }) => url)).toEqual([tokenPath, loginPath]);
  });

  test("changed there it is learnt anew, and the old one refused", async () => {
    const { username } = place.newUser();
    await service.login(username);
    place.old.setPassword(username, "another one");
    expect((await service.login(username, "another one")).status).toBe(200);
    expect((await service.login(username)).status).toBe(403);
    const before = asked();
    expect((await service.login(username, "another one")).status).toBe(200);
    expect(asked()).toBe(before);
  });

  test("is asked about again after UPSTREAM_RECHECK: who was disabled or deleted there is refused", async () => {
    const [disabled, deleted, active] = [place.newUser(), place.newUser(), place.newUser()];
    for (const { username } of [disabled, deleted, active]) await service.login(username);
    place.old.setDisabled(disabled.username, true);
    place.old.removeUser(deleted.username);
    expect((await service.login(disabled.username)).status).toBe(200);
    place.old.aheadMs += 24 * 3_600_000 + 1000;
    expect((await service.login(disabled.username)).status).toBe(403);
    expect((await service.login(deleted.username)).status).toBe(403);
    expect((await service.login(active.username)).status).toBe(200);
    const before = asked();
    expect((await service.login(active.username)).status).toBe(200);
    expect(asked()).toBe(before);
    // A no holds while the old server is away, too.
    await place.old.stop();
    expect((await service.login(disabled.username)).status).toBe(500);
    await place.old.start();
  });

  test("two replicas learn at once; the latest word holds", async () => {
    const other = await place.start({ UPSTREAM_LEAD: "100" }, [], { store: service.store });
    const users = Array.from({ length: 8 }, place.newUser);
    const replies = await Promise.all(
      users.flatMap(({ username }) => [service.login(username), other.login(username)]),
    );
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]));
    const before = asked();
    for (const { username } of users) expect((await service.login(username)).status).toBe(200);
    expect(asked()).toBe(before);
  });

  test("thirty logins at once ask one question at a time, and share it", async () => {
    const user = place.newUser();
    const limits = { UPSTREAM_TIMEOUT: "5s", TRUST_PROXY: "127.0.0.1" };
    const front = await startLeading(limits, [forgotten(user)], { newHash });
    place.old.delayMs = 100;
    // From many networks: those of one wait for each other in the throttle.
    const replies = await Promise.all(
      Array.from({ length: 30 }, async (_, index) => {
        const client = createHttpClient(front.url);
        const authorization = basic(user.username, password);
        const headers = { authorization, "x-forwarded-for": `192.0.2.${index}` };
        return client.call(tokenPath, { headers }).finally(() => client.close());
      }),
    );
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]));
    expect(place.old.peak.ofOneUser).toBe(1);
    expect(asked()).toBeLessThan(30);
  });
});

test("a thousand users on the first morning: nobody is called wrong, and the old server is spared", async () => {
  const users = Array.from({ length: 1000 }, place.newUser);
  const limits = { UPSTREAM_CONCURRENCY: "16", UPSTREAM_TIMEOUT: "5s", THROTTLE_FAILURES: "1000" };
  const front = await startLeading(limits, users.map(forgotten), { newHash });
  place.old.delayMs = 40;
  const seen = new Map<number, number>();
  /** As a browser does: an overloaded server is asked again. */
  async function untilIn(username: string, client: HttpClient): Promise<void> {
    for (;;) {
      const { status } = await front.login(username, password, client);
      seen.set(status, (seen.get(status) ?? 0) + 1);
      if (![500, 503].includes(status)) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  const clients = users.map(() => createHttpClient(front.url));
  await Promise.all(
    users.map(({ username }, index) => untilIn(username, clients[index] as HttpClient)),
  );
  clients.forEach((each) => each.close());
  expect([...seen.keys()].filter((status) => ![200, 500, 503].includes(status))).toEqual([]);
  expect(seen.get(200)).toBe(1000);
  expect(place.old.peak.ofOneUser).toBe(1);
  expect(place.old.peak.all).toBeLessThanOrEqual(16);
  expect(await front.store.takeover.count()).toEqual({ users: 1000, hashes: 1000 });
}, 60_000);

describe("whatever is no documented answer is store_unavailable, locks nobody and learns nothing", () => {
  test.each<OldFault>([
    ...(["hanging", "status 500", "html", "redirect", "foreign token", "half an answer"] as const),
    ...(["reset", "flood", "no token", "certificate expired"] as const),
    "certificate of a foreign authority",
  ])("%s", async (fault) => {
    const [known, unknown] = [place.newUser(), place.newUser()];
    await service.login(known.username);
    place.old.fault = fault;
    const before = await service.store.takeover.count();
    // More often than THROTTLE_FAILURES of the service below allows failures.
    for (let count = 0; count < 4; count++) {
      const token = await service.login(unknown.username);
      expect([token.status, token.headers["retry-after"]]).toEqual([500, "1"]);
    }
    const reply = await service.loginByJson(unknown.username);
    expect([reply.status, reply.headers["retry-after"]]).toEqual([503, "1"]);
    // Whose hash is known goes on as before, whether the last yes is old or not.
    expect((await service.login(known.username)).status).toBe(200);
    place.old.aheadMs += 24 * 3_600_000 + 1000;
    expect((await service.login(known.username)).status).toBe(200);
    expect(await service.store.takeover.count()).toEqual(before);
    // Nothing was counted: the right password is let through at once.
    place.old.fault = undefined;
    await eventually(
      () => service.login(unknown.username),
      ({ status }) => status !== 500,
    );
    expect((await service.login(unknown.username)).status).toBe(200);
  });

  test("down, it is spared: one question at a time tries it again", async () => {
    const { username } = place.newUser();
    place.old.fault = "status 500";
    for (let count = 0; count < 6; count++) await service.login(username);
    const before = asked();
    const statuses = await loginMany(service, Array(20).fill([username, password]));
    expect(new Set(statuses)).toEqual(new Set([500]));
    expect(asked() - before).toBeLessThanOrEqual(2);
    place.old.fault = undefined;
    await eventually(
      () => service.login(username),
      ({ status }) => status === 200,
    );
  });
});

describe("who is known here too", () => {
  test("a usable hash of his own is asked about once; a disabled user stays so", async () => {
    const own = place.newUser();
    const off = place.newUser();
    const passwordHash = await hashPassword(password);
    const add = ({ id, username }: OldUser, disabled: boolean) =>
      service.store.users.add(
        newUser({ id: { type: "int", value: id }, username, disabled, passwordHash, roles: ["r"] }),
      );
    await add(own, false);
    await add(off, true);
    for (let count = 0; count < 3; count++) {
      const reply = await service.login(own.username);
      expect(decodeJwt(tokenIn(reply))).toMatchObject({ sub: own.id, roles: ["r"] });
    }
    expect(asked()).toBe(1);
    expect((await service.login(off.username)).status).toBe(403);
    // The stored hash counts no longer once another password was accepted.
    place.old.setPassword(own.username, "another one");
    expect((await service.login(own.username, "another one")).status).toBe(200);
    expect((await service.login(own.username)).status).toBe(403);
    expect((await service.store.users.findByUsername(own.username))?.passwordHash).toBe(
      passwordHash,
    );
  });

  test("under another id there, the old server's subject is his", async () => {
    const there = place.newUser();
    await service.store.users.add(
      newUser({ id: { type: "int", value: "77" }, username: there.username }),
    );
    for (let count = 0; count < 2; count++) {
      expect(decodeJwt(tokenIn(await service.login(there.username)))).toMatchObject({
        sub: there.id,
      });
    }
    expect(asked()).toBe(1);
  });

  test.each<[Record<string, string>, number]>([
    [{ USERNAME_MATCH: "exact" }, 3],
    [{ USERNAME_MATCH: "ignore-case" }, 1],
    [{ USERNAME_MATCH: "ignore-case-and-accents" }, 1],
    [{ USERS_PRESET: "parse-server" }, 3],
    [{ USERS_PRESET: "parse-server", USERNAME_MATCH: "ignore-case" }, 1],
    [{ USERS_PRESET: "devise" }, 1],
    [{ USERS_PRESET: "aspnet-identity" }, 1],
    // Two users of Meteor may differ in case only.
    [{ USERS_PRESET: "meteor" }, 3],
  ])("another letter case is the same user under %j", async (env, questions) => {
    const { id, username } = place.newUser();
    const stored = env["USERS_PRESET"] === "devise" ? username.toLowerCase() : username;
    const other = await startLeading({ ...env, ...(await newPlace("mongodb")) }, [
      newUser({ id: { type: "int", value: id }, username: stored, passwordHash: undefined }),
    ]);
    for (const name of [username, username.toLowerCase(), username.toUpperCase()]) {
      for (let count = 0; count < 2; count++) {
        const reply = await other.login(name);
        expect([name, reply.status]).toEqual([name, 200]);
        expect(decodeJwt(tokenIn(reply))).toMatchObject({ sub: id });
      }
    }
    expect(asked()).toBe(questions);
  });
});

test("the throttle's law holds for the old server too", async () => {
  const { username } = place.newUser();
  const strict = await startLeading({ THROTTLE_FAILURES: "5" });
  const guesses = Array.from({ length: 40 }, (_, index) => [username, `guess ${index}`] as const);
  expect(new Set(await loginMany(strict, guesses))).toEqual(new Set([403, 429]));
  expect(asked()).toBeLessThanOrEqual(10);
});

test("a no that comes too late counts, a yes does not", async () => {
  const { username } = place.newUser();
  const slow = await startLeading({ UPSTREAM_TIMEOUT: "300ms" });
  place.old.delayMs = 450;
  for (let count = 0; count < 5; count++) expect((await slow.login(username)).status).toBe(500);
  place.old.delayMs = 0;
  await slow.untilUp();
  expect((await slow.login(username)).status).toBe(200);
  (place.old.requests as unknown[]).length = 0;
  place.old.delayMs = 450;
  const seen = await eventually(
    () => slow.login(username, "a guess"),
    ({ status }) => status === 429,
  );
  expect(seen.headers).toHaveProperty("retry-after");
  // THROTTLE_FAILURES is 3.
  expect(place.old.requests.filter((each) => each.username === username).length).toBeLessThan(7);
});

test("UPSTREAM_LEARN=off asks each time and keeps no hash", async () => {
  const { username, id } = place.newUser();
  const other = await startLeading({ UPSTREAM_LEARN: "off" });
  for (let count = 0; count < 2; count++) expect((await other.login(username)).status).toBe(200);
  expect(asked()).toBe(2);
  expect((await other.store.takeover.findBySubject(id))?.hash).toBeUndefined();
});

test("the lead is a share of the names, and what takeover lead sets is felt by all within a second", async () => {
  const one = await place.start({ UPSTREAM_LEAD: "0" });
  const two = await place.start({ UPSTREAM_LEAD: "0" }, [], { store: one.store });
  const { username } = place.newUser();
  const isOurs = async (at: Front) => isIssuedByUs((await at.login(username)).body);
  for (const [percent, ours] of [
    [0, false],
    [100, true],
    [0, false],
  ] as const) {
    await one.store.takeover.setLead({ percent, variable: 0 });
    for (const at of [one, two]) {
      await eventually(
        () => isOurs(at),
        (seen) => seen === ours,
        5000,
      );
    }
  }
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
