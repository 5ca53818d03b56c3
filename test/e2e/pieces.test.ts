/**
 * Bodies in 60,000 pieces of one byte, on everything that the service answers: they cost their bytes. The
 * server's own CPU time and memory are measured, so that what else runs on the machine does not matter.
 */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { flag, frame, frameType, openHttp2 } from "../support/http2-frames.js";
import { openSocket, until, type RawSocket } from "../support/listener.js";
import { startServerProcess, type ServerProcess } from "../support/server-process.js";
import {
  bodyOf,
  inChunks,
  everythingOn,
  inFrames,
  surfaces,
  type Surface,
} from "../support/surfaces.js";

const pieces = 60_000;
/** Nobody waits for longer than the server computes. */
const cpuSecondsMax = 1;
const bodiesAtOnce = 24;
const memoryBytesMax = 64 * 1_048_576;

/** One content type of each path; all of them in `npm run test:long`. */
const isLong = Boolean(process.env["LONG"]);

const dataDir = mkdtempSync(join(tmpdir(), "latchkey-"));
let server: ServerProcess;
beforeAll(async () => {
  server = await startServerProcess({
    DATA_DIR: dataDir,
    ...everythingOn,
  });
  await server.ready();
  // The first of each kind pays for the compiler.
  for (const { send } of versions) (await sendWhole(surfaces[0] as Surface, send)).socket.destroy();
});
afterAll(async () => {
  await server.stop();
  rmSync(dataDir, { recursive: true });
});

async function metric(name: string): Promise<number> {
  const page = await (await fetch(`${server.managementUrl}/metrics`)).text();
  return Number(new RegExp(`^${name} (.+)$`, "m").exec(page)?.[1]);
}
const cpuSeconds = () => metric("process_cpu_seconds_total");

const portOf = ({ port }: Surface) =>
  Number(new URL(port === "public" ? server.url : server.managementUrl).port);

type Send = (surface: Surface, isWhole: boolean) => Promise<RawSocket>;

const versions: readonly { version: string; send: Send; serves: (surface: Surface) => boolean }[] =
  [
    {
      version: "HTTP/1.1",
      serves: () => true,
      async send(surface, isWhole) {
        const raw = openSocket(portOf(surface));
        raw.socket.write(inChunks(surface, bodyOf(surface, pieces), isWhole));
        // The answer to what comes after it tells that all was read.
        if (isWhole)
          raw.socket.write("GET /after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        if (isWhole) await raw.closed;
        else await until(() => raw.socket.writableLength === 0);
        return raw;
      },
    },
    {
      version: "HTTP/2",
      serves: ({ port }) => port === "public",
      async send(surface, isWhole) {
        const raw = openHttp2(portOf(surface));
        raw.socket.write(inFrames(surface, bodyOf(surface, pieces), isWhole));
        raw.socket.write(frame(frameType.ping, 0, 0, Buffer.alloc(8)));
        const isPong = ({ type, flags }: { type: number; flags: number }) =>
          type === frameType.ping && flags === flag.ack;
        await until(() => raw.socket.destroyed || raw.frames().some(isPong));
        return raw;
      },
    },
  ];
const sendWhole = (surface: Surface, send: Send) => send(surface, true);

/** Resolves when the server has nothing to do. */
async function rest(): Promise<void> {
  for (let last = await cpuSeconds(), quiet = 0; quiet < 2;) {
    await sleep(100);
    const now = await cpuSeconds();
    quiet = now - last < 0.05 ? quiet + 1 : 0;
    last = now;
  }
}

const nameOf = ({ port, method, path, contentType }: Surface) =>
  `${port === "public" ? "" : "management "}${method} ${path} ${contentType}`;

describe.each(versions)("$version", ({ send, serves }) => {
  const served = surfaces.filter(serves).map((surface) => [nameOf(surface), surface] as const);
  const firsts = served.filter(([, { isFirst }]) => isFirst);

  test.each(isLong ? served : firsts)(
    "%s: 60,000 pieces take less than a second",
    async (_, surface) => {
      const before = await cpuSeconds();
      const { socket } = await sendWhole(surface, send);
      expect((await cpuSeconds()) - before).toBeLessThan(cpuSecondsMax);
      socket.destroy();
    },
  );

  // One for each reader of bodies; all paths where there is time.
  const readers = [
    "/api/auth/token",
    "/unknown",
    "/auth.v1.AuthService/Login",
    "/grpc.health.v1.Health/Watch",
  ];
  const held = firsts.filter(
    ([, { path, method }]) => isLong || (readers.includes(path) && method === "POST"),
  );

  test.each(held)("%s: 24 unfinished ones take less than 64 MiB", async (_, surface) => {
    const before = await metric("process_resident_memory_bytes");
    const sockets = [];
    for (let i = 0; i < bodiesAtOnce; i++) sockets.push(await send(surface, false));
    await rest();
    expect((await metric("process_resident_memory_bytes")) - before).toBeLessThan(memoryBytesMax);
    for (const { socket } of sockets) socket.destroy();
  });
});
