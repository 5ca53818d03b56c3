/**
 * Every command that writes, and MongoDB failing in each of its writes: what the command says is what is
 * stored, its exit code follows, and its message names what it is about.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { BSON, MongoClient, type Db, type Document } from "mongodb";
import { createConfiguredThrottle } from "../../src/app/throttling.js";
import { parseConfig } from "../../src/config/config.js";
import { openStore } from "../../src/store/open-store.js";
import {
  commandName,
  startMongoProxy,
  type Answer,
  type MongoProxy,
} from "../support/mongo-proxy.js";
import { startMongoServer, type MongoServer } from "../support/mongo.js";
import { allCommands, newQuickClock, runProgram } from "../support/program.js";

const password = "correct horse battery staple";
const oldHash = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
const newHash = "$2b$12$EXRkfkdmXn2gzds2SSitu.MW9.gAVqa9eLS1//RYtYCmB1eLHg.9q";
const folder = mkdtempSync(join(tmpdir(), "latchkey-faults-"));
const newUsers = join(folder, "new.ndjson");
const allUsers = join(folder, "all.ndjson");
const publicKey = "test/support/key-vectors/spki.pem";
const privateKey = "test/support/key-vectors/pkcs8.pem";

/** What is stored, by collection: the documents by `_id`, and the indexes on the users. */
type Stored = Readonly<Record<string, Readonly<Record<string, Document>>>>;

interface Row {
  readonly argv: readonly string[];
  readonly input?: string;
  readonly env?: object;
  /** What standard output has if, and only if, it was done. */
  readonly says: RegExp;
  /** What a message about a failure names. */
  readonly about: string;
  readonly isDone: (stored: Stored, before: Stored) => boolean;
  /** Its summary counts what is stored, be it all or not. */
  readonly counts?: true;
  /**
   * Meets one fault of each kind, in what it writes itself: it goes by the lines of another row, or makes
   * an RSA key in every run.
   */
  readonly isSampled?: true;
}

const userNamed = ({ users = {} }: Stored, name: string) =>
  Object.values(users).find(({ username }) => username === name);
const bob = (stored: Stored) => userNamed(stored, "bob") ?? {};
const ringOf = ({ latchkey_keys: keys = {} }: Stored) =>
  JSON.parse(String(keys["keys"]?.["document"])) as {
    readonly rotateRequested: boolean;
    readonly revoked: readonly { readonly kid: string }[];
    readonly keys: readonly { readonly kid: string; readonly state: string }[];
  };
const signingKid = (stored: Stored) =>
  ringOf(stored).keys.find(({ state }) => state === "signing")?.kid;
const isRevoked = (stored: Stored) => ringOf(stored).revoked.some(({ kid }) => kid === "old");
const hasEnded = (stored: Stored) => bob(stored)["tokensValidAfter"] !== undefined;
const isTold = ({ latchkey_revocations: told = {} }: Stored) => Object.keys(told).length > 0;

const importRow = (policy: string, file: string, isDone: Row["isDone"]): Row => ({
  argv: ["users", "import", file, "--on-conflict", policy, "--json"],
  says: /"leftOver":0,/,
  about: file,
  isDone,
  counts: true,
});

const rows: Readonly<Record<string, Row>> = {
  "users add": {
    argv: ["users", "add", "eve", "--id", "7", "--password-stdin"],
    input: password,
    says: /^added eve /,
    about: '"eve"',
    isDone: (stored) => userNamed(stored, "eve")?.["_id"] === 7,
    isSampled: true,
  },
  "users import fail": importRow(
    "fail",
    newUsers,
    (stored) => userNamed(stored, "carl") !== undefined,
  ),
  "users import skip": {
    ...importRow("skip", allUsers, (stored) => userNamed(stored, "carl") !== undefined),
    isSampled: true,
  },
  "users import replace": importRow(
    "replace",
    allUsers,
    (stored) => bob(stored)["passwordHash"] === newHash,
  ),
  "users set": {
    argv: ["users", "set", "bob", "--role", "admin"],
    says: /^set the roles of bob\n/,
    about: '"bob"',
    isDone: (stored) => BSON.EJSON.stringify(bob(stored)["roles"]) === '["admin"]',
    isSampled: true,
  },
  "users passwd": {
    argv: ["users", "passwd", "bob", "--password-stdin"],
    input: password,
    says: /^set the password of bob\n/,
    about: '"bob"',
    isDone: (stored, before) =>
      hasEnded(stored) && bob(stored)["passwordHash"] !== bob(before)["passwordHash"],
    isSampled: true,
  },
  "users disable": {
    argv: ["users", "disable", "bob"],
    says: /^disabled bob\n/,
    about: '"bob"',
    isDone: (stored) => bob(stored)["disabled"] === true,
  },
  "users disable, told to services": {
    argv: ["users", "disable", "bob"],
    env: { REVOCATIONS: "on" },
    says: /^disabled bob\n/,
    about: '"bob"',
    isDone: (stored) => bob(stored)["disabled"] === true && isTold(stored),
    isSampled: true,
  },
  "users enable": {
    argv: ["users", "enable", "dan"],
    says: /^enabled dan\n/,
    about: '"dan"',
    isDone: (stored) => userNamed(stored, "dan")?.["disabled"] !== true,
    isSampled: true,
  },
  "users remove": {
    argv: ["users", "remove", "bob"],
    says: /^removed bob\n/,
    about: '"bob"',
    isDone: (stored) => userNamed(stored, "bob") === undefined,
  },
  "users revoke": {
    argv: ["users", "revoke", "bob"],
    says: /^revoked the tokens of bob\n/,
    about: '"bob"',
    isDone: hasEnded,
    isSampled: true,
  },
  "users unlock": {
    argv: ["users", "unlock", "bob"],
    says: /^unlocked bob\n/,
    about: '"bob"',
    isDone: ({ latchkey_throttle: counted = {} }, before) =>
      BSON.EJSON.stringify(counted) !== BSON.EJSON.stringify(before["latchkey_throttle"] ?? {}),
  },
  "keys rotate": {
    argv: ["keys", "rotate"],
    says: / signs (from|within) /,
    about: "signing keys",
    isDone: (stored) => ringOf(stored).rotateRequested,
    isSampled: true,
  },
  "keys rotate --now": {
    argv: ["keys", "rotate", "--now"],
    says: / signs\n/,
    about: "signing keys",
    isDone: (stored, before) => signingKid(stored) !== signingKid(before),
    isSampled: true,
  },
  "keys import": {
    argv: ["keys", "import", publicKey, "--kid", "new"],
    says: /^imported new: trusted\n/,
    about: '"new"',
    isDone: (stored) => ringOf(stored).keys.some(({ kid }) => kid === "new"),
  },
  "keys revoke": {
    // With a key of its own nothing is generated.
    env: { SIGNING_KEY_FILE: privateKey },
    argv: ["keys", "revoke", "old"],
    says: /^revoked old\n/,
    about: '"old"',
    isDone: isRevoked,
    isSampled: true,
  },
  "takeover lead": {
    argv: ["takeover", "lead", "30"],
    says: /^Latchkey answers 30% /,
    about: "the lead",
    isDone: ({ latchkey_takeover: state = {} }) => state["lead"]?.["percent"] === 30,
    isSampled: true,
  },
  "takeover finish": {
    argv: ["takeover", "finish", "--yes"],
    says: /^1 moved into the users collection$/m,
    about: "the learnt passwords",
    isDone: (stored) => userNamed(stored, "dan")?.["passwordHash"] === newHash,
    isSampled: true,
  },
  "takeover abandon": {
    argv: ["takeover", "abandon", "--yes"],
    says: /^dropped 1 learnt passwords /,
    about: "the learnt passwords",
    isDone: ({ latchkey_learned: learned = {} }) => Object.keys(learned).length === 0,
    isSampled: true,
  },
  "doctor --fix": {
    argv: ["doctor", "--fix"],
    says: /made the unique index on username of users/,
    about: "index on username of users",
    isDone: ({ indexes = {} }) => Object.values(indexes).some(({ unique }) => unique === true),
    isSampled: true,
  },
};

/** The others: they write nothing to the store. */
const readers: Readonly<Record<string, readonly string[]>> = {
  "users list": [],
  "users show": ["bob"],
  "users export": [],
  "keys list": [],
  "throttle list": [],
  "takeover status": [],
  audit: [],
  config: [],
  doctor: [],
};
const elsewhere = ["serve", "contract", "completion"];

interface Fault {
  readonly name: string;
  /** Of the fail point. */
  readonly data: Document;
  /** In place of the answer to what was applied; absent where the fail point applies it itself. */
  readonly answer?: Answer;
  /** Stands for those that differ by the code alone. */
  readonly isExample?: true;
}

const codes = [13, 50, 91, 189, 301, 8000, 10_107, 11_600, 16_500];
const faults: readonly Fault[] = [
  ...codes.map((code) => ({
    name: `code ${code}`,
    data: { errorCode: code },
    answer: { ok: 0, code, errmsg: "failed by the test" },
    ...([13, 91].includes(code) && { isExample: true as const }),
  })),
  {
    name: "a dropped connection",
    data: { closeConnection: true },
    answer: "dropped",
    isExample: true,
  },
  {
    name: "a write concern that is not met",
    data: { writeConcernError: { code: 64, errmsg: "timed out" } },
    isExample: true,
  },
];

let server: MongoServer | undefined;
let proxy: MongoProxy;
let client: MongoClient;
let db: Db;
let before: Stored;
let written: Write[] = [];

interface Write {
  readonly name: string;
  readonly collection: string;
}

const collections = [
  "users",
  "latchkey_keys",
  "latchkey_throttle",
  "latchkey_audit",
  "latchkey_revocations",
  "latchkey_learned",
  "latchkey_takeover",
];
const writes = ["insert", "update", "delete", "findAndModify", "createIndexes", "drop", "create"];
const record = "latchkey_audit";
/** A driver that has lost its server looks for it again at once. */
const env = () => ({
  MONGODB_URI: proxy.uri("app", "&serverMonitoringMode=poll&minHeartbeatFrequencyMS=1"),
});

beforeAll(async () => {
  server = await startMongoServer();
  if (server === undefined) throw new Error("these tests need MongoDB");
  proxy = await startMongoProxy(server.uri("app"));
  client = new MongoClient(server.uri("app"));
  db = client.db();
  await prepare();
}, 180_000);
afterAll(async () => {
  await client.close();
  proxy.close();
  await server?.dispose();
  rmSync(folder, { recursive: true });
});

async function prepare(): Promise<void> {
  const lines = [
    { _id: 8, username: "carl" },
    { _id: 9, username: "cleo", roles: ["a"] },
    { _id: 1, username: "bob", passwordHash: newHash },
  ].map((line) => `${JSON.stringify(line)}\n`);
  writeFileSync(allUsers, lines.join(""));
  writeFileSync(newUsers, lines.slice(0, 2).join(""));
  await db.collection("users").insertMany([
    { _id: 1, username: "bob", passwordHash: oldHash },
    { _id: 2, username: "dan", disabled: true },
  ] as Document[]);
  const learnt = { _id: "2", username: "dan", names: ["dan"], hash: newHash, at: new Date() };
  await db.collection("latchkey_learned").insertOne(learnt as Document);
  for (const argv of [
    ["keys", "import", publicKey, "--kid", "old"],
    ["keys", "rotate", "--now"],
  ]) {
    expect(await runProgram(argv, { env: env(), clock: newQuickClock() })).toMatchObject({
      code: 0,
    });
  }
  const config = parseConfig(env());
  const store = await openStore(config);
  const throttle = createConfiguredThrottle(config, store);
  const { signal } = new AbortController();
  const permit = await throttle?.admit("bob", "192.0.2.1", Promise.resolve(undefined), signal);
  await permit?.settle("wrong");
  await store.close();
  await dropIndexes();
  before = await look();
}

const dropIndexes = () => db.collection("users").dropIndexes();

async function look(): Promise<Stored> {
  const found = await Promise.all(
    collections.map(async (name) => {
      const documents = await db.collection(name).find().toArray();
      return [name, byId(documents)] as const;
    }),
  );
  const indexes = await db.collection("users").indexes();
  return {
    ...Object.fromEntries(found),
    indexes: Object.fromEntries(indexes.map((each) => [String(each.name), { ...each }] as const)),
  };
}

const byId = (documents: readonly Document[]) =>
  Object.fromEntries(
    documents.map((each) => [BSON.EJSON.stringify(each["_id"]).replaceAll('"', ""), each] as const),
  );

const withoutRecord = (stored: Stored) => BSON.EJSON.stringify({ ...stored, [record]: {} });

/** Puts back what the last command wrote. */
async function restore(): Promise<void> {
  if (written.some(({ name }) => name === "createIndexes")) await dropIndexes();
  const touched = collections.filter((name) =>
    written.some(({ collection }) => collection === name),
  );
  await Promise.all(
    touched.map(async (name) => {
      await db.collection(name).deleteMany({});
      const documents = Object.values(before[name] ?? {});
      if (documents.length > 0) await db.collection(name).insertMany(documents);
    }),
  );
}

const failing = (mode: unknown, data: Document = {}) =>
  client.db("admin").command({ configureFailPoint: "failCommand", mode, data });

interface Case {
  readonly fault: Fault;
  readonly isApplied: boolean;
  readonly often: "once" | "always";
  /** Which of its writes fails, from 0 on. */
  readonly position: number;
}

function casesOf(fault: Fault, all: readonly Write[], row: Row): Case[] {
  // The record is kept by the same lines in every command.
  const isTried = ({ collection }: Write) =>
    collection !== record || (fault.isExample && !row.isSampled);
  return all.flatMap((write, position) =>
    !isTried(write)
      ? []
      : (fault.answer === undefined ? [false] : [false, true]).flatMap((isApplied) =>
          (["once", "always"] as const).map((often) => ({ fault, isApplied, often, position })),
        ),
  );
}

/** Runs a command while MongoDB fails in its write of that position, and perhaps in all later ones. */
async function runFailing(row: Row, failed?: Case) {
  await restore();
  written = [];
  proxy.onCommand = async (command) => {
    const name = commandName(command);
    if (!writes.includes(name)) return "given";
    const position = written.push({ name, collection: String(command[name]) }) - 1;
    if (failed === undefined || position < failed.position) return "given";
    const { fault, isApplied, often } = failed;
    if (often === "once" && position > failed.position) return "given";
    if (isApplied) return fault.answer ?? "given";
    await failing({ times: 1 }, { failCommands: [name], ...fault.data });
    return "given";
  };
  const result = await runProgram(row.argv, {
    ...(row.input !== undefined && { input: row.input }),
    env: { ...env(), ...row.env },
    clock: newQuickClock(),
  });
  proxy.onCommand = () => "given";
  return { ...result, stored: await look() };
}

const doubt = /is not known|has not confirmed|some may have been moved/;

/** Whether the counts of an import are those of the users who are stored, or replaced. */
function areCounted(stdout: string, stored: Stored, isInDoubt: boolean): boolean {
  const { added, replaced } = JSON.parse(stdout) as { added: number; replaced: number };
  const changed = Object.entries(stored["users"] ?? {}).filter(
    ([id, user]) =>
      BSON.EJSON.stringify(user) !== BSON.EJSON.stringify(before["users"]?.[id] ?? {}),
  );
  const storedNew = changed.filter(([id]) => before["users"]?.[id] === undefined).length;
  const storedAnew = changed.length - storedNew;
  return isInDoubt
    ? added <= storedNew && replaced <= storedAnew
    : added === storedNew && replaced === storedAnew;
}

type Result = Awaited<ReturnType<typeof runFailing>>;

/** What was said against what is stored: the faults of it. */
function verdictOf(row: Row, { code, stdout, stderr, stored }: Result, failed?: Case): string[] {
  const isDone = row.isDone(stored, before);
  const isUntouched = withoutRecord(stored) === withoutRecord(before);
  const isInDoubt = doubt.test(stdout + stderr);
  const isHalfDone = stderr.includes("the change is stored, but");
  const isSaid = row.counts ? code === 0 : row.says.test(stdout);
  const isTold = row.counts
    ? stdout === ""
      ? isUntouched
      : areCounted(stdout, stored, isInDoubt)
    : isSaid || isUntouched || isInDoubt || isHalfDone;
  const entry = Object.entries(stored[record] ?? {}).find(
    ([id]) => before[record]?.[id] === undefined,
  );
  const outcome = entry?.[1]["outcome"] as string | undefined;
  const isRecorded = row.argv[0] !== "doctor";
  const { name, collection } = written[failed?.position ?? -1] ?? {};
  const isDeed = collection !== record && (name !== "createIndexes" || !isRecorded);
  const isUnmet = isDeed && failed?.fault.data["writeConcernError"] !== undefined;
  const isRefused =
    row !== rows["takeover finish"] &&
    collection !== record &&
    failed?.often === "once" &&
    !failed.isApplied &&
    failed.fault.data["errorCode"] === 13;
  return Object.entries({
    "the exit code is neither 0 nor 1": code !== 0 && code !== 1,
    "the exit code does not follow what is said": (code === 0) !== isSaid,
    "said to be done, and is not stored": isSaid && !isDone,
    "said to be stored, and is not": isHalfDone && isUntouched,
    "stored, and nothing says so": !isTold,
    "no message": code === 1 && !/^(error: |ERROR|\{"error":)/m.test(stdout + stderr),
    "done, though no majority has confirmed it": code === 0 && isUnmet,
    "the message does not name what it is about":
      code === 1 && !(stdout + stderr).includes(row.about),
    "recorded as done, and is not stored": outcome === "done" && !isDone,
    "recorded as nothing, and is stored": outcome === "nothing" && !isUntouched,
    "refused for certain, and recorded as in doubt":
      isRefused && outcome === "unknown" && code === 1 && isUntouched,
    "stored without a record": isRecorded && !isUntouched && outcome === undefined,
    "done, and not recorded as done":
      isRecorded && code === 0 && outcome !== "done" && !stderr.includes("warning: "),
  }).flatMap(([fault, isSo]) => (isSo ? fault : []));
}

test("a command without a row fails here", () => {
  const known = [...Object.values(rows).map(({ argv }) => argv.join(" ")), ...Object.keys(readers)];
  const leaves = allCommands().map(([path]) => path);
  const missing = leaves.filter(
    (leaf) => !elsewhere.includes(leaf) && !known.some((line) => `${line} `.startsWith(`${leaf} `)),
  );
  expect(missing).toEqual([]);
});

test.each(Object.keys(readers))("%s writes nothing", async (path) => {
  const argv = [...path.split(" "), ...(readers[path] ?? [])];
  const row: Row = { argv, says: /./, about: "", isDone: () => true };
  await runFailing(row);
  expect(written).toEqual([]);
});

describe.each(Object.entries(rows))("%s", (_, row) => {
  let unharmed: Result;
  let all: readonly Write[];
  beforeAll(async () => {
    unharmed = await runFailing(row);
    all = written;
  });

  test("is done where nothing fails", () => {
    const { code, stderr } = unharmed;
    expect([code, verdictOf(row, unharmed)]).toEqual([0, []]);
    expect(stderr).not.toContain("error");
  });

  const table = faults.filter(({ isExample }) => !row.isSampled || isExample);
  test.each(table)("$name", async (fault) => {
    const wrong: object[] = [];
    for (const failed of casesOf(fault, all, row)) {
      const result = await runFailing(row, failed);
      const verdict = verdictOf(row, result, failed);
      const { often, isApplied, position } = failed;
      const { code, stdout, stderr } = result;
      if (verdict.length > 0)
        wrong.push({ verdict, write: all[position], often, isApplied, code, stdout, stderr });
    }
    expect(wrong).toEqual([]);
  });
});
