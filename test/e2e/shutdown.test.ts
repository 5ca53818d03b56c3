/** The end of a real process under load: nothing that it accepted is lost. */
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect as connectTcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startLoad } from "../support/load.js";
import {
  eventually,
  runCommand,
  startServerProcess,
  type ServerProcess,
} from "../support/server-process.js";

const password = "correct horse battery";
let dataDir: string;
let server: ServerProcess | undefined;
beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), "latchkey-"));
  const add = ["users", "add", "ann", "--password-stdin"];
  expect(await runCommand(add, { DATA_DIR: dataDir }, password)).toMatchObject({ exitCode: 0 });
});
afterEach(async () => {
  await server?.stop("SIGKILL");
  rmSync(dataDir, { recursive: true });
});

const start = async (env: Record<string, string>) =>
  (server = await startServerProcess({ DATA_DIR: dataDir, ...env }));

test("not ready, but served for SHUTDOWN_DELAY; then what is in flight finishes, exit 0", async () => {
  const running = await start({ SHUTDOWN_DELAY: "1500ms" });
  const { url, managementUrl } = running;
  const load = startLoad(url, { username: "ann", password });
  await eventually(
    () => Promise.resolve(load.answered()),
    (answered) => answered > 20,
  );
  const ended = running.stop();
  const ready = await eventually(
    () => fetch(`${managementUrl}/readyz`),
    ({ status }) => status === 503,
  );
  expect(await ready.json()).toMatchObject({ problems: { shutdown: "draining" } });
  const before = load.answered();
  await eventually(
    () => Promise.resolve(load.answered()),
    (answered) => answered > before + 5,
  );
  expect(await ended).toBe(0);
  expect(await load.ended()).toEqual([]);
});

test.each(["SIGTERM", "SIGINT"] as const)(
  "a second signal, %s, ends it at once",
  async (signal) => {
    const { child, managementUrl } = await start({ SHUTDOWN_DELAY: "60s" });
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    // Two signals that arrive together are one; before the keys are there it is not ready either.
    await eventually(
      async () => (await fetch(`${managementUrl}/readyz`)).text(),
      (body) => body.includes("draining"),
    );
    child.kill(signal);
    expect(await exited).toEqual([null, signal]);
  },
);

test("SHUTDOWN_GRACE bounds what never finishes", async () => {
  const running = await start({ SHUTDOWN_GRACE: "500ms" });
  const socket = connectTcp(Number(new URL(running.url).port), "127.0.0.1");
  socket.on("error", () => undefined);
  socket.write("POST /api/auth/token HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf");
  await once(socket, "connect");
  expect(await running.stop()).toBe(0);
});
