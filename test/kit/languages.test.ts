/**
 * The clients in other languages, held to the same table as the package's own; and services in four languages
 * that call each other, while Latchkey is away and keys and users are revoked. `LONG=1` has it away for a minute.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { create, toBinary } from "@bufbuild/protobuf";
import { Client as GrpcClient, credentials, Metadata, status } from "@grpc/grpc-js";
import { LoginRequestSchema } from "../../gen/auth/v1/auth_pb.js";
import { startBalancer, type Balancer } from "../support/balancer.js";
import { KitHarness } from "../support/kit-harness.js";
import { freePort } from "../support/mongo.js";
import {
  eventually,
  runCommand,
  startServerProcess,
  type ServerProcess,
} from "../support/server-process.js";
import { startService, type RunningService } from "../support/service.js";
import { cacheDir, describeWith, rootDir, run, setupTimeoutMs } from "../support/toolchain.js";

interface Client {
  /** The commands that it needs, with the arguments that make each tell its version. */
  readonly needs: Readonly<Record<string, readonly string[]>>;
  /** Where its scripts run. */
  readonly folder: string;
  readonly make: string;
  /** Holds it to the table; the package's own is, in another test. */
  readonly table?: string;
  /** The file that the first use of docs/clients.md becomes, around its block, and what runs it. */
  readonly first?: {
    readonly file: string;
    readonly around?: readonly [string, string];
    readonly run: string;
  };
  /** Runs its example, a service that calls others. */
  readonly serve: string;
  /** Logs in with the language's gRPC library until it is killed. A line `login: CODE` tells of each. */
  readonly logins?: string;
}

const clients = {
  typescript: {
    needs: {},
    folder: "examples/typescript",
    // Another test makes the examples too, elsewhere.
    make: "npx tsc -p tsconfig.build.json --outDir dist/service",
    serve: "node dist/service/service.js",
  },
  go: {
    needs: { go: ["version"] },
    folder: "clients/go",
    make: 'go build -o "$FOLDER/go-service" ./example; cd grpc; go test -c -o "$FOLDER/go-logins" .',
    table: "go test -count=1 -v -run TestTable . && (cd grpc && go test -count=1 .)",
    first: {
      file: "first.go",
      around: [
        `package main
import ("cmp"; "context"; "fmt"; "os"; latchkey "latchkey.example/client")
func must[T any](value T, err error) T { if err != nil { panic(err) }; return value }
func main() {`,
        "}",
      ],
      run: 'go run "$FOLDER/first.go"',
    },
    serve: '"$FOLDER/go-service"',
    logins: 'exec "$FOLDER/go-logins" -test.run TestLogins -test.timeout 0',
  },
  java: {
    needs: { javac: ["--version"], mvn: ["--version"] },
    folder: "clients/java",
    make: "mvn --quiet --batch-mode -Dstyle.color=never test-compile",
    table: "mvn --quiet --batch-mode -Dstyle.color=never exec:java",
    first: {
      file: "First.java",
      around: [
        "import latchkey.*; class First { public static void main(String[] args) throws Exception {",
        "} }",
      ],
      run: 'java -cp "target/classes:$(find "$CACHE/m2/com/nimbusds" -name "*.jar" | tr "\\n" :)" "$FOLDER/First.java"',
    },
    serve: "mvn --quiet --batch-mode exec:java -Dexec.mainClass=example.Service",
    logins: "exec mvn --quiet --batch-mode exec:java -Dexec.mainClass=latchkey.Logins",
  },
  python: {
    needs: { python3: ["-c", "import ensurepip, venv"] },
    folder: "clients/python",
    make: `[ -x "$CACHE/client-python/bin/python" ] || python3 -m venv "$CACHE/client-python"
"$CACHE/client-python/bin/pip" install --quiet 'httpx[http2]>=0.28,<1' 'PyJWT[crypto]>=2.10,<3' 'grpcio>=1.70,<2'`,
    table: '"$CACHE/client-python/bin/python" tests/cases.py',
    first: {
      file: "first.py",
      run: 'PYTHONPATH=. "$CACHE/client-python/bin/python" "$FOLDER/first.py"',
    },
    serve: 'env PYTHONPATH=. "$CACHE/client-python/bin/python" example/service.py',
    logins: 'exec "$CACHE/client-python/bin/python" tests/logins.py',
  },
} as const satisfies Record<string, Client>;

const folder = mkdtempSync(join(tmpdir(), "latchkey-languages-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const toolEnv = {
  ...{ FOLDER: folder, CACHE: cacheDir },
  MAVEN_OPTS: `-Dmaven.repo.local=${join(cacheDir, "m2")}`,
};
const shell = (client: Client, script: string, env: Readonly<Record<string, string>> = {}) =>
  run("sh", ["-ec", script], {
    cwd: join(rootDir, client.folder),
    env: { ...toolEnv, ...env },
  });

const making = new Map<Client, Promise<unknown>>();
/** Makes a client, once for all tests. */
function make(client: Client): Promise<unknown> {
  const made = making.get(client) ?? shell(client, client.make);
  making.set(client, made);
  return made;
}

const guide = readFileSync(join(rootDir, "docs/clients.md"), "utf8");
let harness: KitHarness;
let service: RunningService;
beforeAll(async () => {
  [harness, service] = await Promise.all([KitHarness.start(), startService()]);
});
afterAll(() => Promise.all([harness.stop(), service.close()]));

for (const [name, client] of Object.entries<Client>(clients)) {
  const { needs, table, first } = client;
  if (table === undefined || first === undefined) continue;
  await describeWith(needs, `the client in ${name}`, () => {
    test(
      "keeps to the table",
      async () => {
        await make(client);
        const output = await shell(client, table, { LATCHKEY_CONTROL: harness.controlUrl });
        expect(output).toMatch(/\d{3,} passed, 0 failed/);
      },
      setupTimeoutMs,
    );

    test(
      "has a first use of under ten lines",
      async () => {
        await make(client);
        const block = new RegExp(`\`\`\`${name}\n([^]*?)\`\`\``).exec(guide)?.[1] ?? "";
        expect(block.trim().split("\n").length).toBeLessThan(10);
        const { file, around = ["", ""], run } = first;
        writeFileSync(join(folder, file), around.join(`\n${block}`));
        expect(await shell(client, run, { LATCHKEY_URL: service.url })).toBe("hello 1\n");
      },
      setupTimeoutMs,
    );
  });
}

const isLong = process.env["LONG"] !== undefined;
/** A token has to last for longer than an outage after it is due for renewal, which falls in the outage here. */
const timing = isLong
  ? { outageSeconds: 60, ttl: "4m", renewAt: "0.25" }
  : { outageSeconds: 10, ttl: "1m", renewAt: "0.25" };
const password = "correct horse battery staple";
/** Within which a verifier that is given the list refuses what was revoked. */
const revokedWithinMs = 10_000;

interface Counts {
  readonly calls: number;
  readonly failed: number;
  readonly lastFailure: string;
  readonly renewals: number;
  readonly failedRenewals: number;
}

/** One service in each language, each of which calls the others. */
class Services {
  readonly names = Object.keys(clients);
  readonly #urls: Readonly<Record<string, string>>;
  readonly #children: ChildProcess[];

  private constructor(urls: Readonly<Record<string, string>>, latchkeyUrl: string) {
    this.#urls = urls;
    this.#children = Object.entries<Client>(clients).map(([name, client]) =>
      spawn(
        "sh",
        ["-ec", `exec ${client.serve}`.replace("exec PYTHONPATH=.", "PYTHONPATH=. exec")],
        {
          cwd: join(rootDir, client.folder),
          env: {
            ...process.env,
            ...toolEnv,
            ...{ LATCHKEY_URL: latchkeyUrl, LATCHKEY_USERNAME: name, LATCHKEY_PASSWORD: password },
            ...{ RENEW_AT: timing.renewAt, PORT: new URL(urls[name] ?? "").port },
            PEERS: this.names.flatMap((peer) => (peer === name ? [] : (urls[peer] ?? []))).join(),
          },
          stdio: ["ignore", "ignore", "inherit"],
        },
      ),
    );
  }

  static async start(latchkeyUrl: string): Promise<Services> {
    const urls: Record<string, string> = {};
    for (const name of Object.keys(clients)) urls[name] = `http://127.0.0.1:${await freePort()}/`;
    return new Services(urls, latchkeyUrl);
  }

  async counts(): Promise<readonly Counts[]> {
    return Promise.all(
      Object.values(this.#urls).map(
        async (url) => (await (await fetch(`${url}counts`)).json()) as Counts,
      ),
    );
  }

  /** Resolves once each has made another 30 calls, and none of them has failed. */
  async steady(): Promise<readonly Counts[]> {
    let start: readonly Counts[] = [];
    const differences = async () => {
      const now = await this.counts().catch(() => undefined);
      if (now?.some(({ failed }, index) => failed !== start[index]?.failed)) start = now;
      return now?.map(({ calls }, index) => calls - (start[index]?.calls ?? 0)) ?? [];
    };
    await eventually(differences, (calls) => calls.length > 0 && calls.every((more) => more >= 30));
    return this.counts();
  }

  /** What each answers to that token. */
  async answersTo(token: string): Promise<string[]> {
    const headers = { authorization: `Bearer ${token}` };
    return Promise.all(
      Object.values(this.#urls).map(async (url) => {
        const response = await fetch(url, { headers });
        return `${response.status} ${response.headers.get("www-authenticate") ?? (await response.text())}`;
      }),
    );
  }

  /** Resolves once all answer so, with the milliseconds that took. */
  async allAnswer(token: string, wanted: string): Promise<number> {
    const startMs = performance.now();
    await eventually(
      () => this.answersTo(token),
      (answers) => answers.every((answer) => answer === wanted),
    );
    return performance.now() - startMs;
  }

  async stop(): Promise<void> {
    const running = this.#children.filter(
      (child) => child.exitCode === null && child.signalCode === null,
    );
    await Promise.all(
      running.map((child) => {
        const exited = once(child, "exit");
        child.kill("SIGKILL");
        return exited;
      }),
    );
  }
}

const allNeeds = Object.assign(
  {},
  ...Object.values<Client>(clients).map(({ needs }) => needs),
) as Client["needs"];

await describeWith(allNeeds, "services in four languages that call each other", () => {
  const env = { DATA_DIR: join(folder, "data"), REVOCATIONS: "on", TOKEN_TTL: timing.ttl };
  let serving: Readonly<Record<string, string>>;
  let latchkey: ServerProcess;
  let services: Services | undefined;

  const command = async (args: readonly string[], input = "") => {
    const { exitCode, stdout, stderr } = await runCommand(args, env, input);
    if (exitCode !== 0) throw new Error(`${args.join(" ")}: ${stderr}`);
    return stdout;
  };
  const logIn = async (username: string) => {
    const response = await fetch(`${latchkey.url}/auth.v1.AuthService/Login`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ username, password }),
    });
    return ((await response.json()) as { accessToken: string }).accessToken;
  };

  beforeAll(async () => {
    for (const client of Object.values<Client>(clients)) await make(client);
    serving = { ...env, PORT: String(await freePort()) };
    latchkey = await startServerProcess(serving);
    let id = 0;
    for (const name of [...Object.keys(clients), "ann"]) {
      const options = ["--id", String(++id), "--password-stdin"];
      await command(["users", "add", name, ...options], password);
    }
    services = await Services.start(latchkey.url);
  }, setupTimeoutMs);
  afterAll(async () => {
    await services?.stop();
    await latchkey.stop();
  });

  test(
    `no call fails while Latchkey is away for ${timing.outageSeconds} s and its key is rotated twice`,
    async () => {
      if (services === undefined) throw new Error("not started");
      const before = await services.steady();
      await latchkey.stop("SIGKILL");
      await sleep(timing.outageSeconds * 500);
      // Twice: no verifier has seen the key that signs then.
      await command(["keys", "rotate", "--now"]);
      await command(["keys", "rotate", "--now"]);
      await sleep(timing.outageSeconds * 500);
      const more = (now: readonly Counts[], count: "calls" | "renewals" | "failedRenewals") =>
        now.map((each, index) => each[count] - (before[index]?.[count] ?? 0));
      const grown = async (count: "renewals" | "failedRenewals", running: Services) =>
        eventually(
          async () => more(await running.counts(), count),
          (counts) => counts.every((value) => value > 0),
        );
      await grown("failedRenewals", services);
      const callsMeanwhile = more(await services.counts(), "calls");
      latchkey = await startServerProcess(serving);
      await grown("renewals", services);
      const after = await services.steady();
      const failures = after.map(({ failed, lastFailure }, index) =>
        failed === before[index]?.failed ? "none" : lastFailure,
      );
      expect(failures).toEqual(services.names.map(() => "none"));
      process.stderr.write(
        `calls of ${services.names.join(", ")} while Latchkey was away: ${callsMeanwhile.join(", ")}; ` +
          `until all had renewed: ${more(after, "calls").join(", ")}; failed: 0\n`,
      );
    },
    setupTimeoutMs,
  );

  test("all refuse a revoked user, and a revoked key, within ten seconds", async () => {
    if (services === undefined) throw new Error("not started");
    const refused = '401 Bearer error="invalid_token"';
    const first = await logIn("ann");
    await services.allAnswer(first, "200 hello 5");
    await command(["users", "revoke", "ann"]);
    const userMs = await services.allAnswer(first, refused);

    const second = await logIn("ann");
    await services.allAnswer(second, "200 hello 5");
    const header = Buffer.from(second.split(".")[0] ?? "", "base64url").toString();
    await command(["keys", "revoke", "--", (JSON.parse(header) as { kid: string }).kid]);
    const keyMs = await services.allAnswer(second, refused);

    await services.allAnswer(await logIn("ann"), "200 hello 5");
    await services.steady();
    process.stderr.write(
      `a revoked user was refused by all after ${Math.round(userMs)} ms, ` +
        `a revoked key after ${Math.round(keyMs)} ms\n`,
    );
    expect(Math.max(userMs, keyMs)).toBeLessThan(revokedWithinMs);
  });
});

/** Programs that log in again and again with the gRPC library of their language. */
class Logins {
  /** The codes of the logins, by language. */
  readonly codes: Record<string, string[]> = { typescript: [] };
  readonly #children: ChildProcess[] = [];
  readonly #grpcJs: GrpcClient;
  #isOver = false;

  constructor(target: string, serviceConfig: string, user: { username: string; password: string }) {
    const message = toBinary(LoginRequestSchema, create(LoginRequestSchema, user));
    for (const [name, client] of Object.entries<Client>(clients)) {
      if (client.logins === undefined) continue;
      const codes: string[] = (this.codes[name] = []);
      const child = spawn("sh", ["-ec", client.logins], {
        cwd: join(rootDir, client.folder),
        env: {
          ...{ ...process.env, ...toolEnv, TARGET: target, SERVICE_CONFIG: serviceConfig },
          LOGIN: Buffer.from(message).toString("base64"),
        },
        stdio: ["ignore", "pipe", "inherit"],
      });
      createInterface({ input: child.stdout }).on("line", (line) => {
        const code = /login: (.*)/.exec(line)?.[1];
        if (code !== undefined) codes.push(code.trim());
      });
      this.#children.push(child);
    }
    const options = { "grpc.service_config": serviceConfig };
    this.#grpcJs = new GrpcClient(target, credentials.createInsecure(), options);
    void this.#logInByGrpcJs(message);
  }

  async #logInByGrpcJs(message: Uint8Array): Promise<void> {
    const bytes = (value: Buffer) => value;
    while (!this.#isOver) {
      const metadata = new Metadata({ waitForReady: true });
      const code = await new Promise<string>((resolve) => {
        const path = "/auth.v1.AuthService/Login";
        this.#grpcJs.makeUnaryRequest(path, bytes, bytes, Buffer.from(message), metadata, (error) =>
          resolve(error ? `${status[error.code]} ${error.details}` : "OK"),
        );
      });
      this.codes["typescript"]?.push(code);
      await sleep(100);
    }
  }

  /** Resolves once each has logged in so many times more. */
  async more(count: number): Promise<void> {
    const before = Object.values(this.codes).map(({ length }) => length);
    const grown = () =>
      Object.values(this.codes).map((codes, i) => codes.length - (before[i] ?? 0));
    await eventually(
      () => Promise.resolve(grown()),
      (counts) => counts.every((more) => more >= count),
    );
  }

  stop(): void {
    this.#isOver = true;
    this.#grpcJs.close();
    for (const child of this.#children) child.kill("SIGKILL");
  }
}

await describeWith(allNeeds, "gRPC clients with the service config of the guide", () => {
  // Without a delay the balancer still sends connections to a replica that takes no more.
  const env = { DATA_DIR: join(folder, "replicas"), SHUTDOWN_DELAY: "0s" };
  const user = { username: "orders", password };
  const serviceConfig = /```json\n([^]*?)```/.exec(guide)?.[1] ?? "";
  let balancer: Balancer | undefined;
  let logins: Logins | undefined;
  const replicas: ServerProcess[] = [];
  const addReplica = async (to: Balancer) => {
    const replica = await startServerProcess(env);
    replicas.push(replica);
    await to.add(replica);
    return replica;
  };

  beforeAll(async () => {
    for (const client of Object.values<Client>(clients)) await make(client);
  }, setupTimeoutMs);
  afterAll(async () => {
    logins?.stop();
    balancer?.close();
    await Promise.all(replicas.map((replica) => replica.stop("SIGKILL")));
  });

  test(
    "no login fails while one replica after the other is replaced",
    async () => {
      balancer = await startBalancer();
      const older = await addReplica(balancer);
      const args = ["users", "add", user.username, "--id", "1", "--password-stdin"];
      expect(await runCommand(args, env, password)).toMatchObject({ exitCode: 0 });
      logins = new Logins(`127.0.0.1:${balancer.port}`, serviceConfig, user);
      await logins.more(10);
      const newer = await addReplica(balancer);
      expect(await older.stop()).toBe(0);
      await logins.more(10);
      await addReplica(balancer);
      expect(await newer.stop()).toBe(0);
      await logins.more(10);
      const counts = Object.entries(logins.codes).map(([name, { length }]) => `${name} ${length}`);
      process.stderr.write(`logins through two restarts: ${counts.join(", ")}\n`);
      expect(Object.values(logins.codes).map((codes) => [...new Set(codes)])).toEqual(
        counts.map(() => ["OK"]),
      );
    },
    setupTimeoutMs,
  );
});
