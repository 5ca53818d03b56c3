/** `latchkey takeover` and what `doctor` says of one, on both stores; `finish` with the old server off. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { Environment } from "../../src/config/config.js";
import { openEmbeddedStore } from "../../src/store/embedded/embedded-store.js";
import { createCli, finished, hasPseudoTerminals, type Cli } from "../support/cli.js";
import { startOldServer, type OldFault } from "../support/old-server.js";
import { eventually } from "../support/server-process.js";
import { keptLogs, startService } from "../support/service.js";
import { storeNames, useStores } from "../support/stores.js";
import {
  cheapHash,
  isIssuedByUs,
  password,
  tokenPath,
  useOldServer,
  type Front,
} from "../support/takeover.js";
import { newUser } from "../support/users.js";

const { newPlace } = useStores();
const users = Array.from({ length: 6 }, (_, index) => ({
  ...{ id: String(index + 1), username: `user${index + 1}`, password },
}));
const place = useOldServer({ users, tls: true });
let cli: Cli;
beforeAll(() => {
  cli = createCli();
});
afterAll(() => cli.remove());

const localUser = (id: string, differences = {}) =>
  newUser({
    ...{ id: { type: "int", value: id }, username: `user${id}`, passwordHash: undefined },
    ...differences,
  });

describe.each(storeNames)("%s", (name) => {
  test("status, lead, finish, abandon: from the first login to a server that is off", async () => {
    const env = { ...place.env, ...(await newPlace(name)), UPSTREAM_LEAD: "0" };
    const run = async (...args: string[]) => {
      const { code, stdout, stderr } = await cli.run(["takeover", ...args], { env });
      return { code, text: stdout + stderr, json: () => JSON.parse(stdout) as object };
    };
    // user1 and user2 are here without a hash, user3 has one, 4 to 6 are known to the old server alone.
    const { hashPassword } = await import("../../src/auth/passwords/passwords.js");
    const passwordHash = await hashPassword(password);
    const service = await place.start(env, [
      ...[localUser("1"), localUser("2"), localUser("3", { passwordHash })],
      localUser("77", { username: "user6" }),
    ]);
    const status = async () => (await run("status", "--json")).json();
    const countsOf = () => service.store.takeover.count();

    expect(await status()).toMatchObject({
      ...{ lead: 0, users: 4, usable: 1, learnt: 0, unknown: 3, breaker: "closed" },
      ...{ differences: [], forecast: { "95": null, "99": null } },
    });
    // Learnt while the old server leads, in the background.
    for (const user of ["user1", "user4"]) expect((await service.login(user)).status).toBe(200);
    await eventually(countsOf, ({ hashes }) => hashes === 2);
    expect(await run("lead", "101")).toMatchObject({ code: 2 });
    expect((await run("lead", "100", "--json")).json()).toEqual({ lead: 100, before: 0 });
    const isOurs = async () => isIssuedByUs((await service.login("user3")).body);
    await eventually(isOurs, Boolean);
    for (const user of ["user5", "user6"]) expect((await service.login(user)).status).toBe(200);
    await eventually(countsOf, ({ hashes }) => hashes === 4);
    await eventually(status, (shown) => /"by_question":[23]/.test(JSON.stringify(shown)));
    expect(await status()).toMatchObject({ lead: 100, users: 7, usable: 1, learnt: 4, unknown: 2 });
    const shown = await run("status");
    expect(shown.text).toContain("leads        Latchkey (100%)");
    expect(shown.text).toContain("7 in all: 1 with a usable hash, 4 learnt, 2 unknown");

    expect((await run("finish")).code).toBe(2);
    const dry = await run("finish", "--dry-run", "--json");
    expect([dry.code, dry.json()]).toMatchObject([1, { dryRun: true, moved: 1, made: 2 }]);
    expect(await countsOf()).toMatchObject({ hashes: 4 });
    const done = await run("finish", "--yes", "--json");
    expect([done.code, done.json()]).toMatchObject([
      1,
      {
        ...{ moved: 1, made: 2, kept: 1, username_taken: 1 },
        left: [{ _id: "6", username: "user6", reason: "username_taken" }],
      },
    ]);
    const again = await run("finish", "--yes", "--json");
    expect(again.json()).toMatchObject({ moved: 0, made: 0, username_taken: 1 });
    await service.close();

    // Without the old server: what was learnt works, nothing else does.
    const after = await place.start({ ...env, UPSTREAM_URL: "" });
    const statuses = [];
    for (const id of [1, 2, 3, 4, 5, 6]) statuses.push((await after.login(`user${id}`)).status);
    expect(statuses).toEqual([200, 403, 200, 200, 200, 403]);
    await after.close();

    expect((await run("abandon")).code).toBe(2);
    expect((await run("abandon", "--dry-run", "--json")).json()).toMatchObject({ hashes: 1 });
    expect((await run("abandon", "--yes")).text).toContain("dropped 1 learnt passwords of 1 users");
    expect(await status()).toMatchObject({ learnt: 0, users: 6 });
    const audit = await cli.run(["audit", "--json"], { env });
    for (const action of ["takeover_lead", "takeover_finished", "takeover_abandoned"]) {
      expect(audit.stdout).toContain(action);
    }
  }, 120_000);
});

// Without python3 there is no pseudo-terminal to be had; where it matters that is a failure.
const onTerminal = hasPseudoTerminals || process.env["CI"] === "true" ? describe : describe.skip;

onTerminal.each([
  ["finish", "Move 1 learnt passwords into", /1 created there/],
  ["abandon", "Drop 1 learnt passwords of 1 users?", /dropped 1 learnt passwords/],
] as const)("at a terminal %s asks first", (command, prompt, done) => {
  const dataDir = join(mkdtempSync(join(tmpdir(), "latchkey-")), "data");
  async function count(): Promise<number> {
    const store = await openEmbeddedStore({ dataDir });
    try {
      const { hashes } = await store.takeover.count();
      if (hashes > 0 || (await store.users.findByUsername("user1"))) return hashes;
      await store.takeover.learn({
        ...{ subject: "1", username: "user1", names: ["user1"], hash: cheapHash(password) },
        ...{ atMs: 1, ownHashCounts: false, from: "old", day: "2026-11-28" },
      });
      return 1;
    } finally {
      await store.close();
    }
  }

  test.each([
    ["n", "n\r", 1],
    ["anything but yes", "yeah\r", 1],
    ["nothing", "\r", 1],
    ["Ctrl-C", "\x03", 130],
    ["Ctrl-D", "\x04", 1],
  ])("and does nothing after %s", async (_, keys, expected) => {
    expect(await count()).toBe(1);
    const { code, stdout } = cli.runOnTerminal(["takeover", command], [{ prompt, keys }], {
      DATA_DIR: dataDir,
    });
    expect([code, stdout]).toEqual([expected, expect.not.stringMatching(done)]);
    expect(await count()).toBe(1);
  });

  test("and does it after yes", async () => {
    expect(await count()).toBe(1);
    const answer = { prompt, keys: "Y\r" };
    const { code, stdout } = cli.runOnTerminal(["takeover", command], [answer], {
      DATA_DIR: dataDir,
    });
    expect([code, stdout]).toEqual([0, expect.stringMatching(done)]);
    const { code: after, stdout: empty } = cli.runOnTerminal(["takeover", command], [], {
      DATA_DIR: dataDir,
    });
    expect(after).toBe(0);
    expect(empty).not.toContain("[y/N]");
  });
});

test("finish that is killed anywhere goes on where it was", async () => {
  const env = { ...(await newPlace("embedded")) };
  const service = await startService(env, []);
  const { takeover, users } = service.store;
  for (let index = 1; index <= 300; index++) {
    const subject = String(index);
    if (index % 2) await users.add(localUser(subject));
    await takeover.learn({
      ...{ subject, username: `user${subject}`, names: [`user${subject}`], hash: `$${subject}` },
      ...{ atMs: 1, ownHashCounts: false, from: "old", day: "2026-11-28" },
    });
  }
  const moved = async () => {
    const { hashes } = await takeover.count();
    return 300 - hashes;
  };
  let kills = 0;
  while ((await moved()) < 300) {
    const before = await moved();
    const child = cli.start(["takeover", "finish", "--yes"], env);
    const end = finished(child);
    if (kills < 3) {
      await eventually(moved, (count) => count > before);
      child.kill("SIGKILL");
      kills++;
    }
    await end;
  }
  expect(kills).toBeGreaterThan(0);
  const hashes = new Map<string, string | undefined>();
  for await (const { id, passwordHash } of users.list()) hashes.set(id.value, passwordHash);
  expect(hashes.size).toBe(300);
  for (const [id, hash] of hashes) expect(hash).toBe(`$${id}`);
  await service.close();
}, 120_000);

test("--ready is for the days without a difference, the excepted kinds apart", async () => {
  const env = { ...(await newPlace("embedded")) };
  const service = await startService(env, []);
  const nowMs = Date.now();
  const dayMs = 86_400_000;
  const day = (age: number) => new Date(nowMs - age * dayMs).toISOString().slice(0, 10);
  const ready = async (...more: string[]) => {
    const args = ["takeover", "status", "--ready", "--json", ...more];
    const { code, stderr } = await cli.run(args, { env });
    return [code, /not ready: ([^"]*)/.exec(stderr)?.[1]];
  };
  expect(await ready()).toEqual([1, "nothing was compared yet"]);
  await service.store.takeover.add({ day: day(3), counts: { compared: 1 }, differences: [] });
  expect(await ready()).toEqual([1, `compared since ${day(3)} only`]);
  expect(await ready("--days", "2")).toEqual([0, undefined]);
  const lastAtMs = nowMs - dayMs;
  const difference = { kind: "token header x", count: 1, firstAtMs: lastAtMs, lastAtMs };
  await service.store.takeover.add({
    ...{ day: day(9), counts: { compared: 1 } },
    differences: [{ ...difference, examples: [] }],
  });
  expect(await ready()).toEqual([1, "1 kinds of difference in the last 7 days"]);
  expect(await ready("--except", "token header x")).toEqual([0, undefined]);
  expect((await ready("--days", "x"))[0]).toBe(2);
  await service.close();
}, 60_000);

test("doctor says whether the old server would renew our tokens", async () => {
  const env = { ...place.env, ...(await newPlace("embedded")) };
  const keyFile = join(cli.dir, "old-private.pem");
  writeFileSync(keyFile, place.old.privateKeyPem, { mode: 0o600 });
  const service = await startService(env, []);
  await service.close();
  const doctor = async (more: object) =>
    (await cli.run(["doctor"], { env: { ...env, ...more } })).stdout;
  expect(await doctor({})).toContain("WARNING  keys: after takeover lead 0 the old server");
  expect(await doctor({ SIGNING_KEY_FILE: keyFile })).toContain(
    "ok       keys: SIGNING_KEY_FILE is the old server's key",
  );
  expect(await doctor({ SIGNING_KEY_FILE: keyFile, TRUSTED_KEYS_FILE: "" })).toContain(
    "it is not known yet whether SIGNING_KEY_FILE is the old server's key",
  );
}, 60_000);

describe("the log, takeover status and doctor tell in plain words why the old server cannot be asked", () => {
  let env: Environment;
  let service: Front;
  const lines: string[] = [];
  beforeAll(async () => {
    // The embedded store hangs when one process opens it twice and writes.
    env = { ...place.env, ...(await newPlace("mongodb")), UPSTREAM_LEAD: "100" };
    service = await place.start(env, [], { logs: keptLogs(lines) });
  });

  test.each<[OldFault, string]>([
    ["certificate expired", "has a certificate that has expired"],
    [
      "certificate of a foreign authority",
      "has a certificate of an authority that is not trusted here: see UPSTREAM_CA_FILE",
    ],
    ["status 500", "answers 500"],
    ["html", "gives an answer that is not JSON"],
    ["half an answer", "cuts the connection"],
    ["foreign token", "gives a token that cannot be verified"],
  ])("%s", async (fault, words) => {
    const stored = async () => (await service.store.takeover.breaker()) ?? { state: "closed" };
    place.old.fault = fault;
    lines.length = 0;
    for (let count = 0; count < 6; count++) {
      expect((await service.login("user1")).status).toBe(500);
    }
    const cause = `the old server ${words}`;
    const told = lines.filter((line) => line.includes("takeover_unavailable"));
    expect(told.map((line) => (JSON.parse(line) as { cause: string }).cause)).toEqual([cause]);
    if (fault !== "foreign token") {
      const opened = lines.find((line) => line.includes('"state":"open"')) ?? "{}";
      expect(JSON.parse(opened)).toMatchObject({ cause });
      await eventually(stored, ({ state }) => state === "open");
      const { stdout } = await cli.run(["takeover", "status"], { env });
      expect(stdout).toMatch(new RegExp(`breaker +open since [^\\n]+: ${cause}\n`));
      const json = (await cli.run(["takeover", "status", "--json"], { env })).stdout;
      expect(JSON.parse(json)).toMatchObject({ breaker: "open", cause });
    }
    if (fault.startsWith("certificate") || fault === "half an answer") {
      const { code, stdout } = await cli.run(["doctor"], { env });
      expect([code, stdout]).toEqual([1, expect.stringContaining(`ERROR    old server: ${cause}`)]);
    }
    place.old.fault = undefined;
    await service.untilUp();
    await eventually(stored, ({ state }) => state === "closed");
    const { stdout } = await cli.run(["takeover", "status", "--json"], { env });
    expect(JSON.parse(stdout)).toMatchObject({ breaker: "closed", cause: null });
  });

  test.each([
    ["http://nowhere.invalid", "has a host name that cannot be resolved"],
    ["http://127.0.0.1:1", "refuses connections"],
    ["plain", "does not speak TLS on that port"],
  ])("doctor at %s", async (given, words) => {
    const plain = await startOldServer();
    const url = given === "plain" ? plain.url.replace("http:", "https:") : given;
    const { code, stdout } = await cli.run(["doctor"], { env: { ...env, UPSTREAM_URL: url } });
    expect([code, stdout]).toEqual([1, expect.stringContaining(`the old server ${words}`)]);
    await plain.stop();
  });

  test("doctor says that it answers", async () => {
    const { stdout } = await cli.run(["doctor"], { env });
    expect(stdout).toContain(
      `ok       old server: the old server answers 405 to HEAD ${tokenPath}`,
    );
    const { stdout: wrong } = await cli.run(["doctor"], {
      env: { ...env, UPSTREAM_URL: `${place.old.url}/elsewhere` },
    });
    expect(wrong).toContain("WARNING  old server: the old server answers 404");
  });
});
