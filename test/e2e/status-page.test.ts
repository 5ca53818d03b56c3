/** The status page: what it says is so, while all is well, over several processes, and with every fault of the store. */
import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { MongoClient } from "mongodb";
import type { Browser } from "playwright-core";
import { mergeStatuses, type ProcessStatus, type StatusTakeover } from "../../src/pages/status.js";
import { chromiumPath, openPage, seriousFindings, startBrowser } from "../support/browser.js";
import { mountDisk, unmountDisk } from "../support/disk.js";
import { basic } from "../support/http.js";
import { startMongoServer, type MongoServer } from "../support/mongo.js";
import { eventually, startServerProcess, type ServerProcess } from "../support/server-process.js";
import { startService, testUser, type RunningService } from "../support/service.js";
import { isIssuedByUs, startOldPlace } from "../support/takeover.js";
import { describeWith } from "../support/toolchain.js";

jest.setTimeout(120_000);

const right = { username: "TestUser", password: "password" };

async function login(url: string, pair: object = right): Promise<string> {
  const path = "/api/v1/authentication/login";
  const answer = await fetch(url + path, { method: "POST", body: JSON.stringify(pair) });
  return ((await answer.json()) as { data: string }).data;
}
const renew = (url: string, authorization: string) =>
  fetch(`${url}/api/auth/token`, { method: "POST", headers: { authorization } });

const sinceNow = () => ({ firstAtMs: Date.now(), lastAtMs: Date.now() });

/** The page's text: markup is gone, blanks are one. */
async function textOf(managementUrl: string): Promise<string> {
  const html = await (await fetch(managementUrl)).text();
  return html
    .slice(html.indexOf("<body>"))
    .replaceAll(/<[^>]+>/g, " ")
    .replaceAll(/\s+/g, " ");
}
const says = (managementUrl: string, wanted: RegExp, timeoutMs?: number) =>
  eventually(
    () => textOf(managementUrl),
    (text) => wanted.test(text),
    timeoutMs,
  );

describe("one process", () => {
  let service: RunningService;
  beforeAll(async () => {
    service = await startService({ THROTTLE_FAILURES: "3", TOKEN_ISSUER: "https://auth.example" });
  });
  afterAll(() => service.close());

  test("counts logins and renewals by outcome, and names nobody", async () => {
    const token = await login(service.url);
    await renew(service.url, basic("TestUser", "password"));
    for (let i = 0; i < 4; i++) await login(service.url, { username: "Mallory", password: "x" });
    for (let i = 0; i < 3; i++) await renew(service.url, `Bearer ${token}`);
    await renew(service.url, "Bearer a.b.c");
    const text = await textOf(service.managementUrl);
    expect(text).toMatch(/Logins .* 2 accepted 3 refused 1 throttled 0 failed/);
    expect(text).toMatch(/Renewals .* 3 renewed 1 refused 0 failed/);
    expect(text).toMatch(/One username from one network over its limit 1 /);
    expect(text).not.toMatch(/TestUser|Mallory|127\.0\.0\.1|eyJ|argon2id\$/);
  });

  test("shows the keys and what happens to them next, and the users by hash family", async () => {
    const { keys } = (await (await fetch(`${service.url}/.well-known/jwks.json`)).json()) as {
      keys: { kid: string }[];
    };
    await says(service.managementUrl, /published/);
    const text = await textOf(service.managementUrl);
    for (const { kid } of keys) expect(text).toContain(kid);
    expect(text).toMatch(/ signing .* retired, in 30 days, at 20/);
    await says(service.managementUrl, /a sample, 0 minutes ago argon2id 100 %/);
    expect(text).toMatch(/Running 0 of \d+ Waiting 0 of 256/);
    expect(text).not.toContain("Take-over");
  });

  test("every link leads somewhere", async () => {
    const text = await (await fetch(service.managementUrl)).text();
    const links = [...text.matchAll(/<a [^>]*href="([^"]+)"/g)].map(([, link = ""]) => link);
    expect(links.length).toBeGreaterThan(1);
    for (const link of links) {
      const { status } = await fetch(new URL(link, service.managementUrl));
      expect([link, status]).toEqual([link, 200]);
    }
  });

  test("is guarded, read only, and not to be kept", async () => {
    const { headers } = await fetch(service.managementUrl);
    expect(headers.get("content-security-policy")).toMatch(/^default-src 'none'; /);
    expect(headers.get("cache-control")).toBe("no-store");
    expect((await fetch(service.managementUrl, { method: "POST" })).status).toBe(404);
    expect((await fetch(`${service.managementUrl}/page/none`)).status).toBe(404);
  });

  test("without a throttle, and with an old server", async () => {
    const env = { THROTTLE_FAILURES: "0", UPSTREAM_URL: "http://127.0.0.1:9", UPSTREAM_LEAD: "25" };
    const other = await startService(env);
    const text = await textOf(other.managementUrl);
    expect(text).toContain("off Passwords can be guessed without limit.");
    expect(text).toMatch(
      /Take-over Latchkey leads for 25 % of the names, the old server for the others\. .* closed/,
    );
    await other.close();
  });
});

test("several processes: the sum of all", async () => {
  const folder = await mkdtemp(join(tmpdir(), "latchkey-"));
  const server = await startServerProcess({ DATA_DIR: folder, WORKERS: "2", AUDIT_LOG: "off" });
  try {
    await server.ready(60_000);
    const calls = Array.from({ length: 12 }, (_, i) =>
      fetch(`${server.url}/api/auth/token`, {
        method: "POST",
        headers: { authorization: basic(`u${i}`, "x"), connection: "close" },
      }),
    );
    await Promise.all(calls);
    await says(server.managementUrl, /0 accepted 12 refused/);
    await says(server.managementUrl, /in 2 processes/);
  } finally {
    await server.stop();
    await rm(folder, { recursive: true });
  }
});

test("several processes: the breaker is the worst of them, the count the latest", () => {
  const one = (breaker: StatusTakeover["breaker"], at?: number): ProcessStatus => ({
    ...{ startedAt: 0, hour: { minute: 0, rows: [] }, keys: [], sample: undefined },
    ...{ hashes: none, hashLimits: none, throttle: { isOn: true } },
    takeover: {
      ...{ lead: at === undefined ? undefined : 50, breaker },
      progress: at === undefined ? undefined : { ...counted, at },
    },
  });
  const none = { running: 0, waiting: 0 };
  const forecast = { "95": null, "99": null };
  const counted = { users: 1, learnt: 0, unknown: 1, differences: 0, forecast };
  const merged = mergeStatuses([one("closed"), one("open", 1), one("trying", 3), one("open", 2)]);
  expect(merged?.takeover).toEqual({ lead: 50, breaker: "open", progress: { ...counted, at: 3 } });
});

/** Two refreshes, and what a call may wait for the store. */
const twiceMs = 2 * 5000 + 5000;

test("with the embedded store deleted it tells the truth within two refreshes", async () => {
  const folder = await mkdtemp(join(tmpdir(), "latchkey-"));
  const service = await startService({ DATA_DIR: folder });
  await says(service.managementUrl, / Ready .* published /);
  await rm(folder, { recursive: true });
  const text = await says(
    service.managementUrl,
    /Not ready .*store : the store cannot be written/,
    twiceMs,
  );
  expect(text).toMatch(/ signing .* published /);
  await service.close();
});

test("with the disk of the embedded store full it tells the truth within two refreshes", async () => {
  const folder = await mkdtemp(join(tmpdir(), "latchkey-"));
  if (!mountDisk(folder, 8)) return;
  const service = await startService({ DATA_DIR: folder });
  try {
    await says(service.managementUrl, / Ready /);
    const ballast = join(folder, "ballast");
    expect(() => writeFileSync(ballast, Buffer.alloc(2 ** 23))).toThrow("ENOSPC");
    await says(service.managementUrl, /Not ready .*store : the store cannot be written/, twiceMs);
    await rm(ballast);
    await says(service.managementUrl, / Ready /, twiceMs);
  } finally {
    await service.close();
    unmountDisk(folder);
  }
});

describe("with the store at fault it tells the truth within two refreshes", () => {
  let mongo: MongoServer | undefined;
  let server: ServerProcess;
  let admin: MongoClient;
  beforeAll(async () => {
    mongo = await startMongoServer();
    if (mongo === undefined) return;
    admin = new MongoClient(mongo.uri("latchkey"));
    server = await startServerProcess({ MONGODB_URI: mongo.uri("latchkey") });
    await server.ready(60_000);
  });
  afterAll(async () => {
    if (mongo === undefined) return;
    await server.stop();
    await admin.close();
    await mongo.dispose();
  });

  const failing = (mode: object | string, data: object = {}) =>
    admin.db("admin").command({ configureFailPoint: "failCommand", mode, data });
  const unready = /Not ready keys : the store does not answer/;

  const readFaults: readonly [string, object][] = [
    ["an error", { errorCode: 11602 }],
    ["a closed connection", { closeConnection: true }],
    ["silence", { blockConnection: true, blockTimeMS: 20_000 }],
  ];
  test.each(readFaults)("reads end in %s", async (_, data) => {
    if (mongo === undefined) return;
    await says(server.managementUrl, / Ready /, 60_000);
    await failing("alwaysOn", { failCommands: ["find"], ...data });
    await says(server.managementUrl, unready, twiceMs);
    await failing("off");
    await says(server.managementUrl, / Ready /, 60_000);
  });

  const writeFaults: readonly [string, object][] = [
    ["an error", { errorCode: 13 }],
    ["a write concern that was not met", { writeConcernError: { code: 64, errmsg: "waiting" } }],
  ];
  test.each(writeFaults)("writes end in %s, while somebody logs in", async (_, data) => {
    if (mongo === undefined) return;
    await says(server.managementUrl, / Ready /, 60_000);
    await failing("alwaysOn", { failCommands: ["insert", "update", "findAndModify"], ...data });
    await login(server.url, { username: "nobody", password: "x" }).catch(() => undefined);
    await says(server.managementUrl, /calls to the store failed/, twiceMs);
    await failing("off");
  });

  test.each(["freeze", "stop"] as const)("%s", async (fault) => {
    if (mongo === undefined) return;
    await says(server.managementUrl, / Ready /, 60_000);
    await mongo[fault]();
    const text = await says(server.managementUrl, unready, twiceMs);
    // From memory.
    expect(text).toMatch(/ signing .* retired, in 30 days/);
    if (fault === "stop") await mongo.start();
    else mongo.thaw();
    await says(server.managementUrl, / Ready /, 60_000);
  });
});

await describeWith({ [chromiumPath]: ["--version"] }, "in Chromium", () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await startBrowser();
  });
  afterAll(() => browser.close());

  test("refreshes itself without a reload, and says when nobody answers any more", async () => {
    const service = await startService({}, [testUser]);
    const opened = await openPage(browser, service.managementUrl);
    const { page, faults } = opened;
    await page.evaluate("window.isStillThere = true");
    expect(await page.locator("h1").innerText()).toBe("Ready");
    await login(service.url);
    await page.getByText("1 accepted").waitFor();
    expect(await page.evaluate("window.isStillThere")).toBe(true);
    expect(await seriousFindings(page)).toEqual([]);
    expect(faults).toEqual([]);
    await service.close();
    await page
      .getByRole("alert")
      .getByText(/^No answer since/)
      .waitFor();
    await opened.close();
  });

  test("a take-over: who leads, who is known and by when, the breaker; and no name", async () => {
    const password = "correct horse";
    const place = await startOldPlace({ users: [{ id: "7", username: "Ann", password }] });
    const service = await startService({ ...place.env, UPSTREAM_LEAD: "0" });
    const dayMs = 86_400_000;
    for (const [day, first] of [40, 20].entries()) {
      await service.store.takeover.add({
        day: new Date(Date.now() + (day - 2) * dayMs).toISOString().slice(0, 10),
        counts: { first, known: 100 - first },
        differences: [{ ...{ kind: "token status", count: 1 }, ...sinceNow(), examples: ["Ann"] }],
      });
    }
    await says(
      service.managementUrl,
      /Take-over counted 0 minutes ago The old server leads \(0 %\)\. .* closed Users whose password is known 1 of 1 Learnt from the old server 0 Kinds of difference, last 7 days 1 95 % of those who log in known by \d{4}-\d\d-\d\d 99 % of those who log in known by \d{4}-/,
    );
    const narrow = { viewport: { width: 360, height: 740 } } as const;
    const opened = await openPage(browser, service.managementUrl, narrow);
    const { page, faults } = opened;

    await service.store.takeover.setLead({ percent: 100, variable: 0 });
    // Only the old server knows her.
    await eventually(
      () => login(service.url, { username: "Ann", password }),
      (token) => isIssuedByUs(token),
    );
    await place.old.stop();
    for (let i = 0; i < 5; i++) await login(service.url, { username: `nobody${i}`, password });
    const card = page.locator("#takeover");
    for (const text of ["Latchkey leads (100 %)", "2 of 2", "The old server counts as down"]) {
      await card.getByText(text).waitFor();
    }
    expect(await page.content()).not.toMatch(/Ann|nobody|TestUser/);
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(360);
    expect(await seriousFindings(page)).toEqual([]);
    expect(faults).toEqual([]);
    await opened.close();
    await service.close();
    await place.remove();
  });

  test("fits 360 pixels in the dark, and its table is reached with the keyboard", async () => {
    const service = await startService();
    const narrow = { viewport: { width: 360, height: 740 }, colorScheme: "dark" } as const;
    const opened = await openPage(browser, service.managementUrl, narrow);
    const { page, faults } = opened;
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(360);
    const names: string[] = [];
    for (let presses = 0; presses < 3; presses++) {
      await page.keyboard.press("Tab");
      names.push(
        await page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.innerText"),
      );
    }
    expect(names).toEqual(["metrics", "readyz", "Signing keys as a table"]);
    expect(await seriousFindings(page)).toEqual([]);
    expect(faults).toEqual([]);
    await opened.close();
    await service.close();
  });
});
