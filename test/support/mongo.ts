/**
 * A server that speaks MongoDB's protocol, for tests: that of `MONGODB_URI`, else a `mongod` on the
 * PATH, else SecantusDB from PyPI, which is installed once into `.cache/`.
 */
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { MongoClient } from "mongodb";
import { pythonPackage } from "./python.js";

const secantusVersion = "0.7.0b3";

export interface TestMongo {
  /** A connection string with an empty database for this caller only. */
  newDatabase(): string;
  /** Drops the databases, and stops the server if these tests started it. */
  dispose(): Promise<void>;
}

/** A separate server, for tests that disturb it. */
export interface MongoServer {
  uri(database: string): string;
  freeze(): void;
  thaw(): void;
  stop(): Promise<void>;
  /** Starts it again after `stop`, on the same port and data. */
  start(): Promise<void>;
  /** Stops it for good and removes its data. */
  dispose(): Promise<void>;
}

/**
 * Undefined, with a message on stderr, if there is no server.
 * @throws Error instead if `CI` is set.
 */
export async function startTestMongo(): Promise<TestMongo | undefined> {
  const given = process.env["MONGODB_URI"];
  const server = given ? undefined : await startMongoServer();
  if (!given && !server) return undefined;
  const uris: string[] = [];
  return {
    newDatabase() {
      const name = `latchkey_test_${randomBytes(6).toString("hex")}`;
      const uri = server?.uri(name) ?? withDatabase(given ?? "", name);
      uris.push(uri);
      return uri;
    },
    async dispose() {
      if (server) return server.dispose();
      for (const uri of uris) {
        const client = new MongoClient(uri);
        await client.db().dropDatabase();
        await client.close();
      }
    },
  };
}

function withDatabase(uri: string, name: string): string {
  const [, server = "", options = ""] = /^([^/]+\/\/[^/?]+)(?:\/[^?]*)?(\?.*)?$/.exec(uri) ?? [];
  return `${server}/${name}${options}`;
}

/** As {@link startTestMongo}, but never the server of `MONGODB_URI`. */
export async function startMongoServer(): Promise<MongoServer | undefined> {
  const command = mongodCommand() ?? secantusCommand();
  if (command === undefined) {
    const missing =
      "no MongoDB for the tests: set MONGODB_URI, put mongod on the PATH, or make " +
      `\`pip install SecantusDB==${secantusVersion}\` work for python3 3.10 or later`;
    if (process.env["CI"]) throw new Error(missing);
    process.stderr.write(`\n*** SKIPPED: ${missing} ***\n\n`);
    return undefined;
  }
  const folder = mkdtempSync(join(tmpdir(), "latchkey-mongo-"));
  const port = await freePort();
  const argv = command(port, folder);
  let running = await launch(argv, port);
  return {
    uri: (database) => `mongodb://127.0.0.1:${port}/${database}`,
    freeze() {
      process.kill(running.pid, "SIGSTOP");
      while (!isStopped(running.pid));
    },
    thaw: () => void process.kill(running.pid, "SIGCONT"),
    stop: () => running.stop(),
    async start() {
      running = await launch(argv, port);
    },
    async dispose() {
      await running.stop();
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

type Command = (port: number, folder: string) => [string, ...string[]];

function mongodCommand(): Command | undefined {
  if (spawnSync("mongod", ["--version"]).status !== 0) return undefined;
  return (port, folder) => [
    ...(["mongod", "--port", String(port), "--dbpath", folder] as const),
    ...["--bind_ip", "127.0.0.1", "--quiet"],
  ];
}

function secantusCommand(): Command | undefined {
  const binDir = pythonPackage("SecantusDB", secantusVersion);
  if (binDir === undefined) return undefined;
  return (port, folder) => [
    ...([join(binDir, "secantusd-py"), "--port", String(port), "--storage-path", folder] as const),
    ...["--host", "127.0.0.1", "--log-level", "ERROR", "--enable-test-commands"],
  ];
}

/** A port that was free a moment ago, for a program that cannot choose one itself. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}

/**
 * Prints the server's process id and runs as long as the server. Kills the server when this process
 * ends in any way.
 */
const guard = `exec 3<&0; "$@" </dev/null >/dev/null 2>&1 & server=$!; echo $server
(cat <&3; kill -KILL $server) >/dev/null 2>&1 & wait $server`;
const stopMs = 5000;

async function launch(argv: readonly string[], port: number) {
  const shell = spawn("sh", ["-c", guard, "sh", ...argv], { stdio: ["pipe", "pipe", "ignore"] });
  const exited = new Promise<void>((done) => shell.once("exit", () => done()));
  const [line] = (await shell.stdout.take(1).toArray()) as [Buffer];
  const pid = Number(line.toString());
  const stop = async () => {
    if (shell.exitCode !== null) return;
    const killer = setTimeout(() => process.kill(pid, "SIGKILL"), stopMs);
    process.kill(pid, "SIGTERM");
    process.kill(pid, "SIGCONT");
    await exited;
    clearTimeout(killer);
    shell.stdin.end();
  };
  for (let attempt = 0; attempt < 200 && shell.exitCode === null; attempt++) {
    if (await accepts(port)) return { pid, stop };
    await sleep(100);
  }
  await stop();
  throw new Error(`${argv[0] ?? ""} did not start`);
}

/** The signal takes effect a moment after `kill` returns. */
function isStopped(pid: number): boolean {
  const { stdout } = spawnSync("ps", ["-o", "stat=", "-p", String(pid)], { encoding: "utf8" });
  return !/^[^T]/.test(stdout.trim());
}

function accepts(port: number): Promise<boolean> {
  return new Promise((answer) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => answer(true)).once("error", () => answer(false));
    socket.once("connect", () => socket.destroy());
  });
}
