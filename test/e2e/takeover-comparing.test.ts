/** Where the old server leads: which differences of our own answers are noted, and which are noise. */
import { beforeAll, expect, test } from "@jest/globals";
import { basic, type Call } from "../support/http.js";
import { eventually } from "../support/server-process.js";
import { keptLogs } from "../support/service.js";
import {
  cheapHash,
  loginPath,
  password,
  tokenIn,
  tokenPath,
  useOldServer,
  type Front,
} from "../support/takeover.js";
import { newUser } from "../support/users.js";

const lines: string[] = [];
const users = ["1", "2", "3", "4"].map((id) => ({ id, username: `user${id}`, password }));
const place = useOldServer({ users });
let service: Front;

beforeAll(async () => {
  const passwordHash = cheapHash(password);
  const own = users.map(({ id, username }) =>
    newUser({ id: { type: "int", value: id === "4" ? "40" : id }, username, passwordHash }),
  );
  service = await place.start({ REHASH: "off" }, own, { logs: keptLogs(lines) });
});

const basicOf = (username: string, secret = password): Call => ({
  headers: { authorization: basic(username, secret) },
});

/** Calls that many times, more than a second apart for both servers, and waits until all were compared. */
async function call(
  path: string,
  request: Call,
  times = 3,
  vary: (count: number) => void = () => undefined,
) {
  const comparedOf = async () =>
    (await service.store.takeover.days("")).reduce(
      (sum, { counts }) => sum + (counts["compared"] ?? 0),
      0,
    );
  const before = await comparedOf();
  for (let count = 0; count < times; count++) {
    vary(count);
    await service.client.call(path, request);
    place.old.aheadMs += 1200;
  }
  await eventually(comparedOf, (compared) => compared >= before + times);
}

async function kindsAfter(work: () => Promise<void>): Promise<string[]> {
  const countsOf = async () =>
    new Map((await service.store.takeover.differences()).map(({ kind, count }) => [kind, count]));
  const before = await countsOf();
  await work();
  const after = await countsOf();
  return [...after]
    .flatMap(([kind, count]) => (count > (before.get(kind) ?? 0) ? kind : []))
    .sort();
}

test("two servers that answer alike have no difference, on either path", async () => {
  const kinds = await kindsAfter(async () => {
    await call(tokenPath, basicOf("user1"));
    await call(tokenPath, basicOf("user1", "wrong"));
    await call(tokenPath, basicOf("nobody"));
    await call(tokenPath, {});
    const body = JSON.stringify({ username: "user1", password });
    await call(loginPath, { headers: { "content-type": "application/json" }, body });
    await call(loginPath, { body: "{}" });
    const token = tokenIn(await service.login("user1"));
    await call(tokenPath, { headers: { authorization: `Bearer ${token}` } });
  });
  expect(kinds).toEqual([]);
});

test("a header that the old server keeps to is a difference, one that varies is noise", async () => {
  const kinds = await kindsAfter(() =>
    call(tokenPath, basicOf("user1"), 4, (count) => {
      place.old.extraHeaders = { "X-Constant": "1", "X-Trace": String(count), "X-Powered-By": "a" };
    }),
  );
  expect(kinds).toEqual(["token header x-constant"]);
  const [difference] = await service.store.takeover.differences();
  expect(difference).toMatchObject({ kind: "token header x-constant", examples: ["1"] });
});

test("another subject, a user whom only one of the two accepts, another status", async () => {
  expect(await kindsAfter(() => call(tokenPath, basicOf("user4"), 2))).toEqual(["token claim sub"]);
  place.old.setDisabled("user2", true);
  // Before the old server has said yes once, a login that Latchkey leads would ask.
  expect(await kindsAfter(() => call(tokenPath, basicOf("user2"), 2))).toEqual([]);
  place.old.setDisabled("user2", false);
  await call(tokenPath, basicOf("user2"), 1);
  await eventually(
    () => service.store.takeover.findBySubject("2"),
    (record) => record !== undefined,
  );
  place.old.setDisabled("user2", true);
  expect(await kindsAfter(() => call(tokenPath, basicOf("user2"), 2))).toEqual([
    "token verdict: Latchkey accepts what the old server refuses",
  ]);
  await service.store.users.update({ type: "int", value: "3" }, { disabled: true });
  expect(await kindsAfter(() => call(tokenPath, basicOf("user3"), 2))).toEqual([
    "token verdict: the old server accepts what Latchkey refuses",
  ]);
  const xml = { body: '{"username":"user1","password":1}' };
  expect(await kindsAfter(() => call(loginPath, xml, 2))).toEqual([]);
  place.old.fault = "redirect";
  expect(await kindsAfter(() => call(tokenPath, {}, 2))).toEqual(["token status"]);
  place.old.fault = "status 500";
  const before = JSON.stringify(await service.store.takeover.differences());
  await service.client.call(tokenPath, {});
  place.old.fault = undefined;
  await call(tokenPath, {}, 1);
  expect(JSON.stringify(await service.store.takeover.differences())).toBe(before);
});

test("nothing that is kept or logged holds a password, a token or a hash", async () => {
  const kept: unknown[] = [await service.store.takeover.differences(), lines];
  const text = JSON.stringify(kept);
  for (const secret of [password, "eyJ", "$argon2id", basic("user1", password).slice(6)]) {
    expect(text).not.toContain(secret);
  }
  expect(lines.length).toBeGreaterThan(20);
});
