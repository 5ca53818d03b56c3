/**
 * Two processes on a replica set of three whose members step down, die, fall silent and lose answers, under a load of
 * right and wrong passwords, renewals and administration. Afterwards every count is exact.
 *
 *   ROUNDS=1 npm test -- test/e2e/replica-set.test.ts   each failure once
 *   LONG=1 npm test -- test/e2e/replica-set.test.ts     50 elections
 *
 * It prints how long nobody can log in after each failure: the table in docs/operations.md.
 */
import { hashSync } from "@node-rs/bcrypt";
import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { decodeJwt, decodeProtectedHeader } from "jose";
import { MongoClient } from "mongodb";
import { parseRecord } from "../../src/auth/throttle/stored-record.js";
import { CachingVerifier } from "../support/caching-verifier.js";
import { basic } from "../support/http.js";
import { startTestMongo, type TestMongo } from "../support/mongo.js";
import { ReplicaSet, type Failure, type WriteAnswer } from "../support/replica-set.js";
import {
  eventually,
  runCommand,
  startServerProcess,
  type ServerProcess,
} from "../support/server-process.js";

const { LONG, ROUNDS } = process.env;
/** How long a failure lasts; a real set elects within a second or two, or after 10 s if the primary is silent. */
const failureMs = 1000;
const limit = 10;
/** At one account during each failure. */
const guessesEach = 24;
const callers = 20;
/** Between two logins at a process; there are at most so many at a time. */
const pauseMs = 250;
const openMax = 10;
/** The contract's 5 s, and the noise of the machine. */
const answerMaxMs = 8000;

let mongo: TestMongo | undefined;
let set: ReplicaSet | undefined;
const servers: ServerProcess[] = [];
beforeAll(async () => {
  mongo = await startTestMongo();
});
afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop("SIGKILL")));
  set?.close();
  await mongo?.dispose();
});

/** Resolves once the set is whole, if need be without its last primary, which comes back by what it resolves with. */
type Disturbance = (set: ReplicaSet) => Promise<(() => Promise<void>) | undefined>;

const lost =
  (failure: Failure): Disturbance =>
  async (set) => {
    const { primary } = set;
    primary?.fail(failure);
    await sleep(failureMs);
    await set.elect();
    return primary && (() => primary.heal());
  };
const answering =
  (answer: WriteAnswer): Disturbance =>
  async (set) => {
    set.onWrite = () => answer;
    await sleep(failureMs);
    set.onWrite = () => "given";
    return undefined;
  };
const concernError = (code: number, codeName: string) =>
  answering({ writeConcernError: { code, codeName, errmsg: codeName } });

const elections: Readonly<Record<string, Disturbance>> = {
  "the primary steps down": async (set) => {
    set.stepDown();
    await sleep(failureMs);
    await set.elect();
    return undefined;
  },
  "the primary is killed": lost("killed"),
  "the primary freezes": lost("frozen"),
  "the primary accepts connections and answers nothing": lost("half-open"),
  "the majority is lost": async (set) => {
    const others = set.members.filter((member) => member !== set.primary);
    for (const member of others) member.fail("killed");
    set.stepDown();
    await sleep(failureMs);
    await Promise.all(others.map((member) => member.heal()));
    await set.elect();
    return undefined;
  },
};
const disturbances: Readonly<Record<string, Disturbance>> = {
  ...elections,
  "the primary freezes, and goes on without an election": async ({ primary }) => {
    primary?.fail("frozen");
    await sleep(failureMs);
    await primary?.heal();
    return undefined;
  },
  "the answer to each write is lost": answering("dropped"),
  "write concern error 64 (timed out)": concernError(64, "WriteConcernTimeout"),
  "write concern error 91 (shutting down)": concernError(91, "ShutdownInProgress"),
};
const rounds = Number(ROUNDS ?? Math.ceil(50 / Object.keys(elections).length));
const failures = Array.from({ length: rounds }, () => Object.entries(disturbances)).flat();

interface Answer {
  readonly status: number;
  /** Absent without a token. */
  readonly token: string | undefined;
}

async function call(url: string, path: string, init: RequestInit): Promise<Answer> {
  const response = await fetch(`${url}${path}`, { method: "POST", ...init });
  const text = await response.text();
  const { status, headers } = response;
  if (status >= 429 && !headers.has("retry-after"))
    throw new Error(`${path} answers ${status} without Retry-After`);
  const { token, data } = (status === 200 ? JSON.parse(text) : {}) as Record<string, string>;
  return { status, token: token ?? data };
}

let logins = 0;
/** By the next user, and from a network that is new each time, so that it has to write. */
function login({ url }: ServerProcess): Promise<Answer> {
  const network = [10, randomInt(256), randomInt(256), randomInt(256)].join(".");
  const body = { username: `caller${logins++ % callers}`, password: "password" };
  const headers = { "x-forwarded-for": network };
  return call(url, "/api/v1/authentication/login", { headers, body: JSON.stringify(body) });
}

const renew = ({ url }: ServerProcess, token: string) =>
  call(url, "/api/auth/token", { headers: { authorization: `Bearer ${token}` } });

interface Victim {
  readonly username: string;
  readonly network: string;
  /** Whether the account has logged in from that network. */
  readonly isTrusted: boolean;
}

const victims = failures.map((_, i): Victim => ({
  ...{ username: `victim${i}`, network: `198.51.100.${i}`, isTrusted: i % 2 === 1 },
}));

const logInAs = ({ username, network }: Victim, { url }: ServerProcess, password: string) =>
  call(url, "/api/auth/token", {
    headers: { "x-forwarded-for": network, authorization: basic(username, password) },
  });

/** From before the failure until after it. */
const guessAt = (victim: Victim) =>
  Promise.all(
    Array.from({ length: guessesEach }, async (_, i) => {
      await sleep(i * 80);
      return logInAs(victim, servers[i % servers.length] as ServerProcess, "wrong");
    }),
  );

/** A login on its way, or with its answer. */
interface Login {
  readonly sentAt: number;
  endedAt: number;
  status: number | undefined;
}

/** Right passwords, renewals and changes of users, until it is stopped. */
class Load {
  readonly faults: string[] = [];
  /** By process. */
  readonly logins = servers.map(() => [] as Login[]);
  readonly kids = new Set<string>();
  /** What each user's role may be, by what the commands have said. */
  readonly roles = new Map<string, (string | undefined)[]>();
  readonly commands = { done: 0, failed: 0 };
  issued = 0;
  verified = 0;
  readonly #env: Readonly<Record<string, string>>;
  readonly #verifier = new CachingVerifier(() => servers.map(({ url }) => url));
  readonly #open = new Set<Promise<void>>();
  #isOver = false;

  constructor(env: Readonly<Record<string, string>>) {
    this.#env = env;
    for (const [i, server] of servers.entries()) {
      this.#watch(this.#logIns(server, this.logins[i] ?? []));
      this.#watch(this.#renew(server));
    }
    this.#watch(this.#administer());
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    while (this.#open.size > 0) await Promise.all(this.#open);
  }

  #watch(work: Promise<void>): void {
    const watched = work.catch((error: unknown) => {
      this.faults.push(String(error));
    });
    this.#open.add(watched);
    void watched.then(() => this.#open.delete(watched));
  }

  /** Does not wait for answers, unless the machine is too slow. */
  async #logIns(server: ServerProcess, logins: Login[]): Promise<void> {
    while (!this.#isOver) {
      const open = logins.filter(({ status }) => status === undefined).length;
      if (open < openMax) this.#watch(this.#logIn(server, logins));
      await sleep(pauseMs);
    }
  }

  async #logIn(server: ServerProcess, logins: Login[]): Promise<void> {
    const entry: Login = { sentAt: performance.now(), endedAt: Infinity, status: undefined };
    logins.push(entry);
    const answer = await login(server);
    entry.status = answer.status;
    entry.endedAt = performance.now();
    const ms = Math.round(entry.endedAt - entry.sentAt);
    if (ms > answerMaxMs) this.faults.push(`a login is answered after ${ms} ms`);
    this.#judge("a login", answer, 503);
  }

  async #renew(server: ServerProcess): Promise<void> {
    let token: string | undefined;
    while (!this.#isOver) {
      const answer = await (token === undefined ? login(server) : renew(server, token));
      this.#judge("a renewal", answer, token === undefined ? 503 : 500);
      token = answer.token ?? token;
      await sleep(pauseMs);
    }
  }

  #judge(what: string, { status, token }: Answer, unavailable: number): void {
    if (status !== 200 && status !== unavailable) this.faults.push(`${what} is answered ${status}`);
    if (token === undefined) return;
    this.issued++;
    this.kids.add(decodeProtectedHeader(token).kid ?? "");
    this.#watch(this.#verify(token));
    if (randomInt(10) > 0) return;
    const leftMs = (decodeJwt(token).exp ?? 0) * 1000 - Date.now();
    const verify = () => {
      this.#watch(this.#verify(token));
    };
    setTimeout(verify, leftMs - 500).unref();
  }

  async #verify(token: string): Promise<void> {
    await this.#verifier.verify(token);
    this.verified++;
  }

  /** Adds users and changes their roles, one command after the other. */
  async #administer(): Promise<void> {
    for (let i = 0; !this.#isOver; i++) {
      const name = `added${i}`;
      const add = ["users", "add", name, "--role", "first", "--password-stdin"];
      const isAdded = await this.#run(add, "correct horse battery");
      const before = isAdded ? ["first"] : [undefined, "first"];
      const isSet = await this.#run(["users", "set", name, "--role", "second"]);
      this.roles.set(name, isSet ? ["second"] : [...before, "second"]);
      await sleep(pauseMs);
    }
  }

  async #run(args: readonly string[], stdin = ""): Promise<boolean> {
    const isDone = (await runCommand(args, this.#env, stdin)).exitCode === 0;
    this.commands[isDone ? "done" : "failed"]++;
    return isDone;
  }
}

interface Recovery {
  readonly name: string;
  /** From the end of the failure until both processes have let somebody in. */
  readonly ms: number;
  /** The answers to logins that were sent from the failure until then. */
  readonly answers: readonly Login[];
}

async function disturb(
  set: ReplicaSet,
  [name, disturbance]: readonly [string, Disturbance],
  load: Load,
): Promise<Recovery> {
  const failedAt = performance.now();
  const comeBack = await disturbance(set);
  const wholeAt = performance.now();
  const firstGood = () =>
    load.logins.map((logins) =>
      Math.min(
        ...logins
          .filter(({ status, endedAt }) => status === 200 && endedAt >= wholeAt)
          .map(({ endedAt }) => endedAt),
      ),
    );
  const goodAt = await eventually(
    () => Promise.resolve(Math.max(...firstGood())),
    (at) => at < Infinity,
  );
  if (comeBack) await comeBack();
  const answers = load.logins.flat().filter(({ sentAt }) => sentAt >= failedAt && sentAt < goodAt);
  await eventually(
    () => Promise.resolve(answers),
    (all) => all.every(({ status }) => status !== undefined),
  );
  return { name, ms: goodAt - wholeAt, answers };
}

const seconds = (ms: number) => (ms / 1000).toFixed(1);
const median = (values: number[]) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;

function tableOf(recoveries: readonly Recovery[]): string {
  const rows = Object.keys(disturbances).map((name) => {
    const own = recoveries.filter((recovery) => recovery.name === name);
    const times = own.map(({ ms }) => ms);
    const answers = own.flatMap((recovery) => recovery.answers);
    const shareOf = (status: number) =>
      `${Math.round((100 * answers.filter((a) => a.status === status).length) / answers.length)} %`;
    const slowest = Math.max(...answers.map(({ sentAt, endedAt }) => endedAt - sentAt));
    const cells = [name, own.length, seconds(median(times)), seconds(Math.max(...times))];
    return `| ${[...cells, shareOf(200), shareOf(503), seconds(slowest)].join(" | ")} |\n`;
  });
  return `| failure, for a second | times | first login after, median, s | longest, s | answers until then: 200 | 503 | slowest, s |
|---|---|---|---|---|---|---|
${rows.join("")}`;
}

/** The lines of a command's JSON. */
async function listed<T>(args: readonly string[], env: Readonly<Record<string, string>>) {
  const { exitCode, stdout } = await runCommand([...args, "--json"], env);
  expect(exitCode).toBe(0);
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as T);
}

async function expectOneSigningKey(env: Readonly<Record<string, string>>): Promise<void> {
  const keys = await listed<{ kid: string; state: string }>(["keys", "list"], env);
  expect(keys.filter(({ state }) => state === "signing")).toHaveLength(1);
  expect(new Set(keys.map(({ kid }) => kid)).size).toBe(keys.length);
}

const events = (name: string) =>
  servers.flatMap(({ lines }) => lines.filter(({ event }) => event === name));

/** Every guess that was evaluated is counted, exactly once; others are not, and leave no place behind. */
async function expectExactCounts(victim: Victim, answers: readonly Answer[], direct: MongoClient) {
  const { username, isTrusted } = victim;
  const told = answers.filter(({ status }) => status === 403).length;
  expect(answers.filter(({ status }) => ![403, 429, 500].includes(status))).toEqual([]);
  const attempts = events("attempt").filter(
    (event) => event["username"] === username && event["reason"] !== "accepted",
  );
  expect(attempts).toHaveLength(guessesEach);
  const evaluated = attempts.filter(({ waitedMs }) => waitedMs !== undefined).length;
  expect(evaluated).toBeLessThanOrEqual(2 * limit);
  const countersOf = async () => {
    const records = await direct
      .db()
      .collection<{ _id: string; document: string }>("latchkey_throttle")
      .find({ _id: /^user:/ })
      .map(({ document }) => parseRecord(document))
      .toArray();
    return Object.values(records.find(({ label }) => label === username)?.counters ?? {});
  };
  // What was not confirmed is repeated for a while.
  const counters = await eventually(countersOf, (all) =>
    all.every(({ places }) => Object.keys(places).length === 0),
  );
  // Those of the username with the network, and of the username.
  expect(counters).toHaveLength(2);
  for (const { failures } of counters) {
    // With trust, what is evaluated past the limit is refused and not counted.
    expect(failures).toBeGreaterThanOrEqual(isTrusted ? told : evaluated);
    expect(failures).toBeLessThanOrEqual(evaluated);
  }
}

const isAsked = LONG !== undefined || ROUNDS !== undefined;
(isAsked ? test : test.skip)(
  "elections and failures under load: every count is exact",
  async () => {
    if (mongo === undefined) return;
    const uri = mongo.newDatabase();
    const played = (set = await ReplicaSet.start(uri));
    const env = {
      MONGODB_URI: played.uri(new URL(uri).pathname.slice(1)),
      ...{ TRUST_PROXY: "1", REHASH: "off", LOG_LEVEL: "info" },
      ...{ KEY_ROTATION_INTERVAL: "5s", TOKEN_TTL: "12s" },
    };
    // Hashing is not what this is about.
    const passwordHash = hashSync("password", 4);
    const names = Array.from({ length: callers }, (_, i) => `caller${i}`);
    const rows = [...names, ...victims.map(({ username }) => username)].map((username, i) =>
      JSON.stringify({ _id: i + 1, username, passwordHash }),
    );
    const imported = await runCommand(["users", "import", "-"], env, rows.join("\n"));
    expect(imported.exitCode).toBe(0);
    servers.push(...(await Promise.all([1, 2].map(() => startServerProcess(env)))));
    await Promise.all(servers.map((server) => server.ready()));
    for (const victim of victims.filter(({ isTrusted }) => isTrusted)) {
      const { status } = await logInAs(victim, servers[0] as ServerProcess, "password");
      expect(status).toBe(200);
    }

    const load = new Load(env);
    await eventually(
      () => Promise.resolve(load.logins),
      (all) => all.every((logins) => logins.some(({ status }) => status === 200)),
    );
    const recoveries: Recovery[] = [];
    const guesses: Answer[][] = [];
    for (const [i, failure] of failures.entries()) {
      const guessing = guessAt(victims[i] as Victim);
      await sleep(200);
      recoveries.push(await disturb(played, failure, load));
      guesses.push(await guessing);
      await expectOneSigningKey(env);
    }
    await load.stop();
    const { issued, verified, kids, commands, faults } = load;
    process.stderr.write(
      `\n${tableOf(recoveries)}\n${issued} tokens by ${kids.size} keys, verified ${verified} times; ` +
        `${commands.done} commands done, ${commands.failed} failed\n`,
    );
    expect(faults).toEqual([]);
    expect(commands.done).toBeGreaterThan(0);

    const direct = new MongoClient(uri);
    try {
      for (const [i, victim] of victims.entries())
        await expectExactCounts(victim, guesses[i] ?? [], direct);
    } finally {
      await direct.close();
    }

    const users = await listed<{ username: string; roles: string[] }>(["users", "list"], env);
    expect(new Set(users.map(({ username }) => username)).size).toBe(users.length);
    for (const [name, possible] of load.roles) {
      const user = users.find(({ username }) => username === name);
      expect(possible).toContain(user?.roles[0]);
    }

    const begun = events("key_signing").filter(({ elsewhere }) => !elsewhere);
    expect(new Set(begun.map(({ kid }) => kid)).size).toBe(begun.length);
    const keySets = await Promise.all(
      servers.map(async ({ url }) => (await fetch(`${url}/.well-known/jwks.json`)).text()),
    );
    expect(keySets[0]).toBe(keySets[1]);
  },
  120_000 + failures.length * 20_000,
);
