import { describe, expect, test } from "@jest/globals";
import { connect as connectHttp2 } from "node:http2";
import { setTimeout as sleep } from "node:timers/promises";
import {
  flag,
  frame,
  frameType,
  headerBlock,
  openHttp2,
  uint32,
  type RawHttp2,
} from "../support/http2-frames.js";
import {
  fetchHttp1,
  fetchHttp2,
  openSocket,
  shortLimits,
  start,
  until,
} from "../support/listener.js";

const whole = flag.endHeaders | flag.endStream;
const open = (streamId: number) =>
  frame(frameType.headers, flag.endHeaders, streamId, headerBlock());
const request = (streamId: number) => frame(frameType.headers, whole, streamId, headerBlock());
const ping = frame(frameType.ping, 0, 0, Buffer.alloc(8));
const cancel = (streamId: number) => frame(frameType.rstStream, 0, streamId, uint32(8));

/** Writes until the server has ended it or `n` parts are out, without waiting for who does not read. */
async function flood(raw: RawHttp2, n: number, part: (i: number) => Buffer): Promise<void> {
  for (let i = 0; i < n && raw.socket.writable; i += 100) {
    raw.socket.write(Buffer.concat(Array.from({ length: 100 }, (_, j) => part(i + j))));
    await sleep(1);
  }
}

describe("HTTP/2 abuse ends the connection, and harms nobody else", () => {
  test.each<[string, (i: number) => Buffer]>([
    ["rapid reset", (i) => Buffer.concat([request(2 * i + 1), cancel(2 * i + 1)])],
    [
      "resets provoked by bad windows",
      (i) =>
        Buffer.concat([request(2 * i + 1), frame(frameType.windowUpdate, 0, 2 * i + 1, uint32(0))]),
    ],
    [
      "resets provoked by bodies longer than their length",
      (i) => {
        const block = headerBlock({ "content-length": "1" });
        const headers = frame(frameType.headers, flag.endHeaders, 2 * i + 1, block);
        return Buffer.concat([headers, frame(frameType.data, 0, 2 * i + 1, "xx")]);
      },
    ],
    [
      "malformed headers",
      (i) => frame(frameType.headers, whole, 2 * i + 1, headerBlock({ Upper: "case" })),
    ],
    ["streams past the limit", (i) => open(2 * i + 1)],
    ["pings", () => ping],
    ["settings", () => frame(frameType.settings, 0, 0)],
    ["settings acknowledged unasked", () => frame(frameType.settings, flag.ack, 0)],
    ["empty data", (i) => (i === 0 ? open(1) : frame(frameType.data, 0, 1))],
    [
      "empty continuations",
      (i) =>
        i === 0
          ? frame(frameType.headers, 0, 1, headerBlock())
          : frame(frameType.continuation, 0, 1),
    ],
    [
      "endless continuations",
      (i) => {
        const block = headerBlock({ [`x${i}`]: "x".repeat(2000) });
        return frame(i === 0 ? frameType.headers : frameType.continuation, 0, 1, block);
      },
    ],
  ])("%s", async (_, part) => {
    let handled = 0;
    const { port, listener } = await start({
      limits: { lingerMs: 100, checkIntervalMs: 20 },
      handler: (req, res) => {
        handled++;
        if (req.method === "GET") res.writeHead(200).end();
      },
    });
    const session = connectHttp2(`http://127.0.0.1:${port}`);
    expect(await fetchHttp2(session)).toMatchObject({ status: 200 });
    const attacker = openHttp2(port);
    await until(() => attacker.frames().length >= 2);
    await flood(attacker, 10_000, part);
    await until(() => listener.connections() === 1);
    expect(handled).toBeLessThan(400);
    expect(await fetchHttp2(session)).toMatchObject({ status: 200 });
    session.destroy();
  });

  test.each([
    ["reads nothing", uint32(0)],
    ["reads a little", uint32(10)],
  ])("a client that %s of its answers", async (_, window) => {
    const { port, listener, refusals } = await start({
      limits: shortLimits,
      handler: (_req, res) => void res.writeHead(200).end("x".repeat(100)),
    });
    const initialWindowSize = Buffer.concat([Buffer.from([0, 4]), window]);
    const attacker = openHttp2(port, { settings: initialWindowSize });
    await until(() => attacker.frames().length >= 2);
    attacker.socket.write(Buffer.concat(Array.from({ length: 100 }, (_, i) => request(2 * i + 1))));
    const alive = setInterval(() => attacker.socket.write(ping), 20);
    await until(() => refusals.length > 0);
    clearInterval(alive);
    expect(refusals).toMatchObject([{ reason: "slow_reader" }]);
    await until(() => listener.connections() === 0);
  });

  test("HTTP/1.1: a client that never reads its answers", async () => {
    const { port, listener, refusals } = await start({
      limits: shortLimits,
      handler: (_req, res) => void res.writeHead(200).end("x".repeat(10_000_000)),
    });
    const { socket } = openSocket(port);
    socket.pause();
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3));
    await until(() => refusals.length > 0);
    expect(refusals).toMatchObject([{ reason: "slow_reader" }]);
    await until(() => listener.connections() === 0);
  });

  test("HTTP/1.1: an answer that is never finished but not read either", async () => {
    const { port, refusals } = await start({
      limits: shortLimits,
      handler: (_req, res) => {
        res.writeHead(200);
        const more = setInterval(() => {
          if (!("stream" in res) && !res.writableNeedDrain) res.write("x".repeat(1_000_000));
        }, 1);
        res.on("close", () => clearInterval(more));
      },
    });
    const { socket } = openSocket(port);
    socket.pause();
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await until(() => refusals.length > 0);
    expect(refusals).toMatchObject([{ reason: "slow_reader" }]);
  });

  test("a client with a ping for each of many requests is welcome", async () => {
    const { port, refusals } = await start();
    const session = connectHttp2(`http://127.0.0.1:${port}`);
    for (let i = 0; i < 600; i++) {
      await Promise.all([
        fetchHttp2(session),
        new Promise((resolve) => session.ping((error) => resolve(error))),
      ]);
    }
    expect(refusals).toEqual([]);
    session.destroy();
  });

  test("frames that cost nothing end nothing", async () => {
    const { port, refusals } = await start();
    const raw = openHttp2(port);
    await flood(raw, 2_000, (i) =>
      i % 2 ? frame(frameType.windowUpdate, 0, 0, uint32(1)) : frame(99, 0, 0, "unknown"),
    );
    expect(await fetchHttp1({ port })).toMatchObject({ status: 200 });
    expect(refusals).toEqual([]);
  });
});
