/** `latchkey keys …` while two servers run, on both stores; and what keeps a server from starting. */
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createPrivateKey, randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { decodeProtectedHeader, SignJWT } from "jose";
import { basic, createHttpClient, type HttpClient } from "../support/http.js";
import { startTestMongo, type TestMongo } from "../support/mongo.js";
import {
  eventually,
  runCommand,
  startServerProcess,
  type ServerProcess,
} from "../support/server-process.js";

const vectors = new URL("../support/key-vectors/", import.meta.url).pathname;
const thumbprints = JSON.parse(readFileSync(`${vectors}thumbprints.json`, "utf8")) as {
  pkcs8: string;
  python: string;
};
const password = "correct horse battery";

let mongo: TestMongo | undefined;
let folder: string;
/** The private vectors, readable by their owner alone. */
let [pkcs8, python] = ["", ""];
beforeAll(async () => {
  mongo = await startTestMongo();
  folder = mkdtempSync(join(tmpdir(), "latchkey-keys-"));
  [pkcs8, python] = [secretCopy("pkcs8.pem"), secretCopy("python.pem")];
});
afterAll(async () => {
  await mongo?.dispose();
  rmSync(folder, { recursive: true });
});

function secretCopy(name: string): string {
  const path = join(folder, name);
  copyFileSync(join(vectors, name), path);
  chmodSync(path, 0o600);
  return path;
}

type Env = Record<string, string>;
interface Listed {
  readonly kid: string;
  readonly state: string;
  readonly source: string | null;
  readonly bits: number | null;
  readonly since: string | null;
  readonly next: { step: string; at: string } | null;
  readonly issuer: string | null;
}

const jsonLines = (text: string) =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

async function keysCommand(env: Env, ...args: string[]) {
  const { exitCode, stdout, stderr } = await runCommand(["keys", ...args, "--json"], env);
  return { exitCode, result: jsonLines(stdout)[0] ?? {}, errors: jsonLines(stderr), stdout };
}
async function listed(env: Env): Promise<Listed[]> {
  const { exitCode, stdout } = await keysCommand(env, "list");
  expect(exitCode).toBe(0);
  return jsonLines(stdout) as unknown as Listed[];
}
const inState = (keys: Listed[], state: string) =>
  keys.filter((key) => key.state === state).map((key) => key.kid);

const stores: [string, () => Env | undefined][] = [
  ["the embedded store", () => ({ DATA_DIR: mkdtempSync(join(folder, "data-")) })],
  ["MongoDB", () => (mongo ? { MONGODB_URI: mongo.newDatabase() } : undefined)],
];

describe.each(stores)("while servers run on %s", (_, envOf) => {
  let env: Env = {};
  let servers: ServerProcess[] = [];
  let clients: HttpClient[] = [];
  let isThere = false;
  beforeAll(async () => {
    const store = envOf();
    if (store === undefined) return;
    isThere = true;
    env = { ...store, KEY_ENCRYPTION_KEY: randomBytes(32).toString("hex") };
    await runCommand(["users", "add", "ann", "--id", "1", "--password-stdin"], env, password);
    servers = await Promise.all([startServerProcess(env), startServerProcess(env)]);
    clients = servers.map(({ url }) => createHttpClient(url));
  });
  afterAll(async () => {
    clients.forEach((client) => client.close());
    expect(await Promise.all(servers.map((server) => server.stop()))).toEqual(servers.map(() => 0));
  });

  const issue = (authorization: string) =>
    Promise.all(
      clients.map((client) => client.call("/api/auth/token", { headers: { authorization } })),
    );
  const statuses = async (authorization: string) =>
    (await issue(authorization)).map(({ status }) => status);
  const login = async () =>
    (await issue(basic("ann", password))).map(
      ({ body }) => (JSON.parse(body) as { token: string }).token,
    );
  const published = async () =>
    Promise.all(
      clients.map(async (client) => {
        const { body } = await client.call("/.well-known/jwks.json", { method: "GET" });
        return (JSON.parse(body) as { keys: { kid: string }[] }).keys.map(({ kid }) => kid);
      }),
    );
  const kidsOf = (tokens: string[]) => tokens.map((token) => decodeProtectedHeader(token).kid);
  const both = <T>(value: T) => [value, value];

  test("list tells every key and its next step", async () => {
    if (!isThere) return;
    const keys = await eventually(
      () => listed(env),
      (all) => all.length === 2,
    );
    const signing = keys.find(({ state }) => state === "signing");
    expect(signing).toMatchObject({ source: "managed", bits: 2048, issuer: null });
    expect(signing?.next?.step).toBe("retired");
    expect(keys.find(({ state }) => state === "published")?.next).toEqual({
      step: "signing",
      at: signing?.next?.at,
    });
    const { stdout } = await runCommand(["keys", "list"], env);
    expect(stdout).toMatch(/^STATE +KID +BITS +SOURCE +SINCE +NEXT +AT +ISSUER\n(?:.+\n){2}$/);
    expect(kidsOf(await login())).toEqual(both(signing?.kid));
  });

  test("rotate waits until every verifier knows the next key, --now says whom it hurts", async () => {
    if (!isThere) return;
    const [next = ""] = inState(await listed(env), "published");
    const { exitCode, result } = await keysCommand(env, "rotate");
    expect([exitCode, result["signingKid"]]).toEqual([0, next]);
    const waitMs = Date.parse(String(result["at"])) - Date.now();
    expect(waitMs).toBeGreaterThan(3_600_000);

    const tokens = await login();
    const now = await keysCommand(env, "rotate", "--now");
    expect([now.exitCode, now.result]).toEqual([
      0,
      { signingKid: next, unknownForSeconds: expect.any(Number) },
    ]);
    expect(now.errors).toEqual([
      { warning: { message: expect.stringMatching(/^for up to \d+ s, verifiers .* refuse/) } },
    ]);
    expect(kidsOf(await login())).toEqual(both(next));
    expect(await statuses(`Bearer ${tokens[0]}`)).toEqual(both(200));
  });

  test("revoke is felt by every server once it returns, and another key signs", async () => {
    if (!isThere) return;
    const tokens = await login();
    const [kid = ""] = kidsOf(tokens) as string[];
    const { exitCode, result } = await keysCommand(env, "revoke", kid);
    expect([exitCode, result["kid"]]).toEqual([0, kid]);
    for (const token of tokens) expect(await statuses(`Bearer ${token}`)).toEqual(both(403));
    for (const kids of await published()) expect(kids).not.toContain(kid);
    const renewed = await login();
    expect(kidsOf(renewed)).toEqual(both(result["signingKid"]));
    expect(await statuses(`Bearer ${renewed[0]}`)).toEqual(both(200));
    expect(inState(await listed(env), "revoked")).toEqual([kid]);
    expect((await keysCommand(env, "revoke", kid)).exitCode).toBe(0);
    // What was done by a command is in the log of every server.
    for (const { lines } of servers) {
      expect(lines).toContainEqual(
        expect.objectContaining({ event: "key_revoked", kid, elsewhere: true }),
      );
    }
  });

  const claims = () => {
    const now = Math.floor(Date.now() / 1000);
    return { sub: "1", iss: "NomicGameManager.Api", iat: now, exp: now + 3600 };
  };
  const oldToken = (changes = {}) =>
    new SignJWT({ ...claims(), ...changes })
      .setProtectedHeader({ alg: "RS256" })
      .sign(createPrivateKey(readFileSync(python)));

  test("import of a public key: its tokens are accepted, and it is not published", async () => {
    if (!isThere) return;
    const file = join(folder, "public.json");
    const { n, e } = createPrivateKey(readFileSync(python)).export({ format: "jwk" });
    writeFileSync(file, JSON.stringify({ keys: [{ kty: "RSA", n, e }] }));
    expect(await statuses(`Bearer ${await oldToken()}`)).toEqual(both(403));
    const imported = await keysCommand(env, "import", file, "--issuer", "https://old.example");
    expect(imported).toMatchObject({
      exitCode: 0,
      result: { kid: thumbprints.python, state: "trusted", next: null },
    });
    const accepted = async () =>
      statuses(`Bearer ${await oldToken({ iss: "https://old.example" })}`);
    await eventually(accepted, (all) => all.every((status) => status === 200));
    expect(await statuses(`Bearer ${await oldToken()}`)).toEqual(both(403));
    for (const kids of await published()) expect(kids).not.toContain(thumbprints.python);
  });

  test("import of a private key: published and accepted, for as long as it is to be kept", async () => {
    if (!isThere) return;
    const imported = await keysCommand(env, "import", python, "--keep", "2h");
    expect(imported).toMatchObject({ exitCode: 0, errors: [], result: { state: "retired" } });
    const { at } = imported.result["next"] as { at: string };
    expect(Math.abs(Date.parse(at) - Date.now() - 7_200_000)).toBeLessThan(60_000);
    await eventually(published, (all) => all.every((kids) => kids.includes(thumbprints.python)));
    expect(await statuses(`Bearer ${await oldToken()}`)).toEqual(both(200));
  });

  test("import --sign: it is the next to sign", async () => {
    if (!isThere) return;
    const { result } = await keysCommand(env, "import", pkcs8, "--sign");
    expect(result).toMatchObject({ kid: thumbprints.pkcs8, state: "published" });
    expect(result["next"]).toMatchObject({ step: "signing" });
    await eventually(published, (all) => all.every((kids) => kids.includes(thumbprints.pkcs8)));
    await keysCommand(env, "rotate", "--now");
    expect(kidsOf(await login())).toEqual(both(thumbprints.pkcs8));
  });

  test("import --kid: tokens and verifiers that name the old server's id", async () => {
    if (!isThere) return;
    const named = () =>
      new SignJWT(claims())
        .setProtectedHeader({ alg: "RS256", kid: "old-1" })
        .sign(createPrivateKey(readFileSync(python)));
    expect(await statuses(`Bearer ${await named()}`)).toEqual(both(403));
    const imported = await keysCommand(env, "import", python, "--kid", "old-1");
    expect(imported).toMatchObject({ exitCode: 0, result: { kid: "old-1", state: "retired" } });
    const sets = await eventually(published, (all) => all.every((kids) => kids.includes("old-1")));
    for (const kids of sets) expect(kids).toContain(thumbprints.python);
    expect(await statuses(`Bearer ${await named()}`)).toEqual(both(200));
    const taken = await keysCommand(env, "import", `${vectors}spki.pem`, "--kid", "old-1");
    expect(taken.errors).toMatchObject([{ error: { code: "kid_taken" } }]);

    const { result, errors } = await keysCommand(env, "revoke", "old-1");
    expect(result).toMatchObject({ kid: "old-1", acceptedForSeconds: 300 });
    expect(errors).toEqual([
      { warning: { message: expect.stringMatching(/^services that verify .* within 300 s/) } },
    ]);
    // The key, not one of its names.
    for (const token of [await named(), await oldToken()]) {
      expect(await statuses(`Bearer ${token}`)).toEqual(both(403));
    }
    const gone = (kids: string[]) => !kids.includes("old-1") && !kids.includes(thumbprints.python);
    expect((await published()).every(gone)).toBe(true);
  });

  test.each([
    [["revoke", "nobody"], 1, "unknown_key"],
    [["import", "SIGNS"], 1, "already_known"],
    [["import", "/nonexistent"], 1, "file_unreadable"],
    [["import", `${vectors}ec.pem`], 78, "invalid_key_file"],
    [["import", `${vectors}short.pem`], 78, "invalid_key_file"],
    [["import", `${vectors}make.sh`], 78, "invalid_key_file"],
    [["import", `${vectors}spki.pem`, "--sign"], 2, "usage"],
    [["import", `${vectors}spki.pem`, "--keep", "1h"], 2, "usage"],
    [["import", `${vectors}pkcs8.pem`, "--issuer", "a"], 2, "usage"],
    [["import", `${vectors}pkcs8.pem`, "--sign", "--keep", "1h"], 2, "usage"],
    [["import", `${vectors}pkcs8.pem`, "--keep", "soon"], 2, "usage"],
    [["import", `${vectors}many.pem`, "--kid", "a"], 2, "usage"],
    [["import", `${vectors}pkcs8.pem`, "--kid", "a b"], 2, "usage"],
    [["import", `${vectors}pkcs8.pem`, "--kid", ""], 2, "usage"],
    [["import"], 2, "usage"],
    [["revoke"], 2, "usage"],
    [["bogus"], 2, "usage"],
  ])("%j fails with exit code %d, %s", async (args, exitCode, code) => {
    if (!isThere) return;
    const failed = await keysCommand(env, ...args.map((arg) => (arg === "SIGNS" ? pkcs8 : arg)));
    expect([failed.exitCode, failed.stdout]).toEqual([exitCode, ""]);
    expect(failed.errors.at(-1)).toHaveProperty("error.code", code);
  });

  test.each([
    ["missing", "", /KEY_ENCRYPTION_KEY is not set/],
    ["wrong", randomBytes(32).toString("hex"), /KEY_ENCRYPTION_KEY does not open/],
  ])(
    "the encryption key is %s: exit code 78 of every command and of serve",
    async (_, key, said) => {
      if (!isThere) return;
      const other = { ...env, KEY_ENCRYPTION_KEY: key, PORT: "0", MANAGEMENT_PORT: "0" };
      for (const args of [["keys", "list"], ["keys", "rotate"], ["serve"]]) {
        const { exitCode, stderr } = await runCommand(args, other);
        expect([args, exitCode]).toEqual([args, 78]);
        expect(stderr).toMatch(said);
        expect(stderr).not.toMatch(/\n {4}at /);
        if (key) expect(stderr).not.toContain(key);
      }
    },
  );

  test("the encryption key is changed by NEW,OLD, then NEW alone", async () => {
    if (!isThere) return;
    const before = await published();
    const next = randomBytes(32).toString("base64");
    const start = async (key: string) => {
      const server = await startServerProcess({ ...env, KEY_ENCRYPTION_KEY: key });
      await server.ready();
      return server;
    };
    const exchanging = await start(`${next},${env["KEY_ENCRYPTION_KEY"]}`);
    await eventually(
      () => Promise.resolve(exchanging.lines),
      (lines) => lines.some(({ event }) => event === "keys_resealed"),
    );
    const changed = await start(next);
    const set = (await (await fetch(`${changed.url}/.well-known/jwks.json`)).json()) as {
      keys: { kid: string }[];
    };
    expect(set.keys.map(({ kid }) => kid)).toEqual(before[0]);
    expect((await runCommand(["keys", "list"], env)).exitCode).toBe(78);
    expect(await Promise.all([exchanging.stop(), changed.stop()])).toEqual([0, 0]);
    // Those that still have the old key go on with what they opened.
    expect(await statuses(basic("ann", password))).toEqual(both(200));
  });
});

describe("SIGNING_KEY_FILE", () => {
  const faults: [string, RegExp][] = [
    ["nonexistent.pem", /cannot be read: ENOENT/],
    ["", /cannot be read: EISDIR/],
    ["spki.pem", /private key is needed/],
    ["public-pkcs1.der", /private key is needed/],
    ["certificate.pem", /private key is needed/],
    ["encrypted-pkcs8.pem", /passphrase/],
    ["encrypted-pkcs1.pem", /passphrase/],
    ["encrypted-pkcs8.der", /passphrase/],
    ["short.pem", /1024 bits; 2048 is the least/],
    ["exponent.pem", /exponent 3; 65537 is the least/],
    ["ec.pem", /not an RSA key but ec/],
    ["pss.pem", /not an RSA key but rsa-pss/],
    ["mismatched.pem", /certificate belongs to another key/],
    ["damaged.der", /do not fit together/],
    ["jwk.json", /private key is needed/],
    ["make.sh", /no private key in PKCS#8 or PKCS#1/],
  ];

  test("of every wrong kind: exit code 78, the file is named and none of its text shown", async () => {
    const dataDir = join(folder, "never");
    // One after the other: each is a process.
    for (const [name, said] of faults) {
      const path = join(vectors, name);
      const env = { SIGNING_KEY_FILE: path, DATA_DIR: dataDir, PORT: "0", MANAGEMENT_PORT: "0" };
      const { exitCode, stdout, stderr } = await runCommand(["serve"], env);
      expect([name, exitCode, stdout]).toEqual([name, 78, ""]);
      expect(stderr).toContain(`SIGNING_KEY_FILE ${path}`);
      expect(stderr).toMatch(said);
      if (said.source.startsWith("cannot")) continue;
      const words = readFileSync(path, "latin1").split(/[\s"]+/);
      const secret = words.filter((word) => word.length > 24 && !word.includes("/work"));
      for (const word of secret) expect(stderr).not.toContain(word);
    }
  });

  test("of which others can read: a warning; the key signs, and no other can", async () => {
    const path = join(folder, "open.pem");
    copyFileSync(pkcs8, path);
    chmodSync(path, 0o644);
    const env = { SIGNING_KEY_FILE: path, DATA_DIR: mkdtempSync(join(folder, "data-")) };
    const server = await startServerProcess(env);
    expect(server.lines).toContainEqual(
      expect.objectContaining({
        level: "warn",
        msg: `SIGNING_KEY_FILE ${path}: can be read or written by every user of this machine (mode 644); chmod o= takes that away`,
      }),
    );
    expect(inState(await listed(env), "signing")).toEqual([thumbprints.pkcs8]);
    for (const args of [["rotate"], ["rotate", "--now"], ["import", python, "--sign"]]) {
      const { exitCode, errors } = await keysCommand(env, ...args);
      expect([exitCode, errors.at(-1)]).toMatchObject([1, { error: { code: "key_file_signs" } }]);
    }
    const { result } = await keysCommand(env, "revoke", thumbprints.pkcs8);
    expect(result).toMatchObject({ kid: thumbprints.pkcs8, signingKid: null });
    expect(await server.stop()).toBe(0);
  });
});

test("stored keys that are damaged: exit code 78, nothing overwritten", async () => {
  const { openStore } = await import("../../src/store/open-store.js");
  const { parseConfig } = await import("../../src/config/config.js");
  const env = { DATA_DIR: mkdtempSync(join(folder, "data-")) };
  const store = await openStore(parseConfig(env));
  await store.keys.save("{}", 0);
  for (const args of [["keys", "list"], ["keys", "rotate"], ["serve"]]) {
    const result = await runCommand(args, { ...env, PORT: "0", MANAGEMENT_PORT: "0" });
    expect([args, result.exitCode]).toEqual([args, 78]);
    expect(result.stderr).toMatch(/stored signing keys are damaged/);
  }
  expect((await store.keys.load()).document).toBe("{}");
  await store.close();
});

test.each(["list", "rotate", "revoke", "import"])(
  "help of keys %s has --json and an example that is this command",
  async (command) => {
    const { exitCode, stdout } = await runCommand(["keys", command, "--help"], {});
    expect(exitCode).toBe(0);
    expect(stdout).toContain("--json");
    expect(stdout.slice(stdout.indexOf("Example:"))).toContain(`latchkey keys ${command}`);
  },
);
