/** Several worker processes on one port, as an operator runs them. */
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { shareOf } from "../../src/app/workers.js";
import { startLoad } from "../support/load.js";
import {
  eventually,
  runCommand,
  startServerProcess,
  type ServerProcess,
} from "../support/server-process.js";

const user = { username: "ann", password: "correct horse battery" };
let dataDir: string;
let server: ServerProcess | undefined;
beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), "latchkey-"));
  const add = ["users", "add", user.username, "--password-stdin"];
  const added = await runCommand(add, { DATA_DIR: dataDir }, user.password);
  expect(added).toMatchObject({ exitCode: 0 });
});
afterEach(async () => {
  await server?.stop("SIGKILL");
  server = undefined;
  rmSync(dataDir, { recursive: true });
});

const start = async (env: Record<string, string> = {}) =>
  (server = await startServerProcess({ DATA_DIR: dataDir, WORKERS: "2", ...env }));

/** pgrep's exit code 1 says that there are none. */
const workersOf = ({ child }: ServerProcess) =>
  spawnSync("pgrep", ["-P", String(child.pid)], { encoding: "utf8" })
    .stdout.split("\n")
    .filter((line) => line !== "")
    .map(Number);

function killIfAlive(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

const isLogged = (running: ServerProcess, event: string) =>
  eventually(
    () => Promise.resolve(running.lines.some((line) => line["event"] === event)),
    Boolean,
    25_000,
  );

async function requestsSeen({ managementUrl }: ServerProcess): Promise<number> {
  const page = await (await fetch(`${managementUrl}/metrics`)).text();
  const [, count] = /latchkey_requests_total\{.*outcome="ok"\} (\d+)/.exec(page) ?? [];
  return Number(count ?? 0);
}

test("SIGHUP replaces them one by one and SIGTERM ends them; no request is lost or uncounted", async () => {
  const running = await start();
  await running.ready();
  const before = workersOf(running);
  expect(before).toHaveLength(2);
  const load = startLoad(running.url, user);
  await eventually(
    () => Promise.resolve(load.answered()),
    (answered) => answered > 30,
  );
  const seen = await requestsSeen(running);
  expect(seen).toBeGreaterThan(20);
  running.child.kill("SIGHUP");
  await isLogged(running, "rolled");
  await eventually(
    () => Promise.resolve(workersOf(running)),
    (pids) => pids.length === 2 && !pids.some((pid) => before.includes(pid)),
    25_000,
  );
  expect(await requestsSeen(running)).toBeGreaterThan(seen);
  const answered = load.answered();
  await eventually(
    () => Promise.resolve(load.answered()),
    (now) => now > answered + 10,
  );
  load.workersEnd();
  expect(await running.stop()).toBe(0);
  expect(await load.ended()).toEqual([]);
});

test("one that dies is replaced", async () => {
  const running = await start();
  const [victim = 0] = workersOf(running);
  process.kill(victim, "SIGKILL");
  await isLogged(running, "worker_ended");
  await eventually(
    () => Promise.resolve(workersOf(running)),
    (pids) => pids.length === 2 && !pids.includes(victim),
  );
  await running.ready(25_000);
  expect(await running.stop()).toBe(0);
});

test("one that dies again and again is replaced each time while another is healthy", async () => {
  const running = await start();
  await running.ready(25_000);
  const [healthy = 0] = workersOf(running);
  const others = () => Promise.resolve(workersOf(running).filter((pid) => pid !== healthy));
  for (let killed = 0; killed < 7; killed++) {
    const [victim = 0] = await eventually(others, (pids) => pids.length === 1, 25_000);
    process.kill(victim, "SIGKILL");
    await eventually(others, (pids) => !pids.includes(victim), 25_000);
  }
  await eventually(others, (pids) => pids.length === 1, 25_000);
  await running.ready(25_000);
  expect(workersOf(running)).toContain(healthy);
  expect(await running.stop()).toBe(0);
});

test("the service ends once no worker can live", async () => {
  const running = await start();
  const hasEnded = () => {
    for (const pid of workersOf(running)) killIfAlive(pid);
    return Promise.resolve(running.child.exitCode !== null);
  };
  await eventually(hasEnded, Boolean, 90_000);
  expect(running.child.exitCode).toBe(1);
});

test("workers that cannot start end the service with their exit code and their words", async () => {
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as { port: number };
  const env = { DATA_DIR: dataDir, WORKERS: "2", MANAGEMENT_PORT: "0", PORT: String(port) };
  const failure: unknown = await startServerProcess(env).catch((error: unknown) => error);
  taken.close();
  const { message } = failure as Error;
  expect(message).toMatch(/^ended with 1: /);
  expect(message.match(/cannot listen/g)).toHaveLength(1);
});

test.each([
  [7, 2, [4, 3]],
  [2, 2, [1, 1]],
  [1, 3, [1, 1, 1]],
  [256, 3, [86, 85, 85]],
])("%i shared out among %i", (total, workers, shares) => {
  expect(shares.map((_, index) => shareOf(total, workers, index))).toEqual(shares);
});
