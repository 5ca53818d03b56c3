import { describe, expect, test } from "@jest/globals";
import { once } from "node:events";
import { Agent } from "node:http";
import {
  connect as connectHttp2,
  constants,
  type ClientHttp2Session,
  type Http2ServerResponse,
} from "node:http2";
import { setTimeout as sleep } from "node:timers/promises";
import { defaultLimits, type Response } from "../../src/server/connections.js";
import {
  flag,
  frame,
  frameType,
  headerBlock,
  openHttp2,
  preface,
  uint32,
} from "../support/http2-frames.js";
import {
  echo,
  fetchHttp1,
  fetchHttp2,
  openSocket,
  shortLimits,
  start,
  until,
} from "../support/listener.js";

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

async function withHttp2(port: number, use: (session: ClientHttp2Session) => Promise<void>) {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  session.on("error", () => undefined);
  try {
    await use(session);
  } finally {
    session.destroy();
  }
}

const open = (streamId: number) =>
  frame(frameType.headers, flag.endHeaders, streamId, headerBlock());

/** Sends text over a socket and gives what came until the server closed it. */
async function exchange(port: number, text: string): Promise<string> {
  const { socket, closed } = openSocket(port);
  socket.write(text);
  return (await closed).toString("latin1");
}

function expectBareAnswer(answer: string, status: number): void {
  const [head, ...rest] = answer.split("\r\n\r\n");
  expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} [A-Z][^]*`));
  expect(head).toMatch(/\r\nconnection: close/i);
  expect(head).toMatch(/\r\nx-request-id: [0-9a-f-]{36}/i);
  expect(head).toMatch(/\r\ncontent-length: 0/i);
  expect(rest).toEqual([""]);
}

describe("one port", () => {
  test("serves HTTP/1.1 with keep-alive", async () => {
    const { port, listener } = await start();
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (const body of ["", "one", "x".repeat(100_000)]) {
      const answer = await fetchHttp1({ port, agent, method: "POST", path: "/a?b" }, body);
      expect(answer).toMatchObject({ status: 200, body, headers: { "x-path": "/a?b" } });
    }
    expect(listener.connections()).toBe(1);
    agent.destroy();
    const fetched = await fetch(`http://127.0.0.1:${port}/`, { method: "POST", body: "text" });
    expect(await fetched.text()).toBe("text");
  });

  test("serves HTTP/2 by prior knowledge", async () => {
    const { port, listener } = await start();
    await withHttp2(port, async (session) => {
      const bodies = Array.from({ length: 100 }, (_, i) => "x".repeat(i * 1000));
      const answers = await Promise.all(bodies.map((body) => fetchHttp2(session, {}, body)));
      expect(answers.map(({ body }) => body)).toEqual(bodies);
      expect(listener.connections()).toBe(1);
    });
  });

  test("knows the protocol however the first bytes arrive", async () => {
    const { port } = await start();
    const http2 = openSocket(port);
    const block = frame(frameType.headers, flag.endHeaders | flag.endStream, 1, headerBlock());
    for (const byte of [...preface, ...frame(frameType.settings, 0, 0), ...block]) {
      http2.socket.write(Buffer.from([byte]));
      await sleep(1);
    }
    const answerHeaders = Buffer.from([frameType.headers, flag.endHeaders, 0, 0, 0, 1]);
    await until(() => http2.received().includes(answerHeaders));

    const http1 = openSocket(port);
    for (const char of "P\0OST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".replace(
      "\0",
      "",
    )) {
      http1.socket.write(char);
      await sleep(1);
    }
    expect((await http1.closed).toString()).toMatch(/^HTTP\/1.1 200 /);
  });

  test("answers pipelined requests in order", async () => {
    const { port } = await start();
    const paths = Array.from({ length: 20 }, (_, i) => `/${i}`);
    const requests = paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    requests.push("GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const answers = await exchange(port, requests.join(""));
    expect([...answers.matchAll(/x-path: (.*)\r/g)].map(([, path]) => path)).toEqual([
      ...paths,
      "/last",
    ]);
  });

  test.each(["Upgrade: websocket", "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__"])(
    "passes over %j",
    async (upgrade) => {
      const { port } = await start();
      const { socket, received } = openSocket(port);
      for (const path of ["/1", "/2"]) {
        const connection = `Connection: Upgrade, HTTP2-Settings\r\n${upgrade}`;
        socket.write(
          `POST ${path} HTTP/1.1\r\nHost: a\r\n${connection}\r\nContent-Length: 2\r\n\r\nhi`,
        );
        await until(() => received().includes(`x-path: ${path}\r\n`) && received().includes("hi"));
      }
      expect(received().toString()).toMatch(/^HTTP\/1.1 200 /);
    },
  );

  test("passes OPTIONS * on, answers CONNECT itself", async () => {
    const { port } = await start();
    const options = await exchange(
      port,
      "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    expect(options).toMatch(/^HTTP\/1.1 200 [^]*x-path: \*/);
    expectBareAnswer(await exchange(port, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"), 501);
    await withHttp2(port, async (session) => {
      const stream = session.request({ ":method": "CONNECT", ":authority": "a:1" });
      const [headers] = (await once(stream, "response")) as [Record<string, unknown>];
      expect(headers).toMatchObject({
        ":status": 501,
        "x-request-id": expect.stringMatching(uuid),
      });
    });
  });

  test("honours Expect: 100-continue, refuses other expectations", async () => {
    const { port } = await start();
    const { socket, received } = openSocket(port);
    socket.write("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    await until(() => received().toString() === "HTTP/1.1 100 Continue\r\n\r\n");
    socket.write("hi");
    await until(() => received().toString().endsWith("\r\n\r\nhi"));
    expectBareAnswer(
      await exchange(
        port,
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: more\r\nContent-Length: 0\r\n\r\n",
      ),
      417,
    );
    await withHttp2(port, async (session) => {
      const stream = session.request({ ":method": "POST", expect: "100-continue" });
      await once(stream, "continue");
      stream.end("hi");
      await once(stream, "response");
      expect(await fetchHttp2(session, { expect: "more" })).toMatchObject({
        status: 417,
        headers: { "x-request-id": expect.stringMatching(uuid) },
      });
    });
  });

  test("fails to listen on a taken port", async () => {
    const { port } = await start();
    await expect(start({ port })).rejects.toMatchObject({ code: "EADDRINUSE" });
  });
});

describe("malformed requests", () => {
  test.each([
    ["no host", "GET / HTTP/1.1\r\n\r\n", 400],
    ["unknown method", "FOO / HTTP/1.1\r\nHost: a\r\n\r\n", 400],
    ["almost the preface", "PRI * HTTP/1.1\r\nHost: a\r\n\r\n", 400],
    [
      "two lengths",
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
      400,
    ],
    [
      "a length beside chunks",
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      400,
    ],
    ["bad chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400],
    ["long header", `GET / HTTP/1.1\r\nHost: a\r\nx: ${"x".repeat(17_000)}\r\n\r\n`, 431],
    ["long path", `GET /${"x".repeat(2_000_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 431],
    ["many headers", `GET / HTTP/1.1\r\nHost: a\r\n${"a: b\r\n".repeat(10_000)}\r\n`, 431],
    ["1,001 lines", `GET / HTTP/1.1\r\nHost: a\r\n${"a:\r\n".repeat(1000)}\r\n`, 431],
    ["two hosts", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400],
    ["two hosts on 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400],
    ...["a b", "a@b", "a/b", "a:b", "[::1", "a, b", "http://a", "%zz", "é"].map(
      (host) =>
        [`host ${host}`, `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`, 400] as [
          string,
          string,
          number,
        ],
    ),
    ["a target that is no path", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400],
    ["a target with a broken host", "GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400],
    [
      "chunks on 1.0",
      "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      400,
    ],
    [
      "another coding",
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
      501,
    ],
  ])("%s", async (_, request, status) => {
    const { port, refusals } = await start({ limits: shortLimits });
    expectBareAnswer(await exchange(port, request), status);
    const reason = status === 431 ? "header_size" : "malformed";
    expect(refusals).toMatchObject([{ reason, status, remoteAddress: "127.0.0.1" }]);
  });

  test.each([
    "",
    "a",
    "a.b:80",
    "a:",
    "127.0.0.1",
    "[::1]:8080",
    "[fe80::1%25eth0]",
    "a_b",
    "%c3%a9",
    "[v1.a:b]",
  ])("the host %j is taken", async (host) => {
    const { port } = await start();
    const request = `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
    expect(await exchange(port, request)).toMatch(/^HTTP\/1.1 200 /);
  });

  test("a thousand header lines arrive, the last of them too", async () => {
    const { port } = await start({
      handler: (req, res) => void res.writeHead(200).end(String(req.headers["x-last"])),
    });
    const lines = `${"a:\r\n".repeat(997)}X-Last: here\r\nConnection: close\r\n`;
    const answer = await exchange(port, `GET / HTTP/1.1\r\nHost: a\r\n${lines}\r\n`);
    expect(answer).toMatch(/\r\nhere\r\n/);
  });

  test.each([
    [100, 200],
    [200, 200],
    [400, 200],
    // By its size, as RFC 9113 section 6.5.2 counts it.
    [600, 431],
    [2000, 431],
  ])("HTTP/2: %i header pairs are answered with %i", async (pairs, status) => {
    const { port } = await start();
    const fields = Object.fromEntries(Array.from({ length: pairs }, (_, i) => [`x${i}`, ""]));
    await withHttp2(port, async (session) => {
      await once(session, "remoteSettings");
      expect(await fetchHttp2(session, fields)).toMatchObject({ status });
    });
  });

  test.each<[string, Record<string, string>]>([
    ["a host that is not the authority", { host: "b" }],
    ["a broken authority", { ":authority": "a:b" }],
    ["a path that is none", { ":path": "*a" }],
    ["a header of the connection", { connection: "keep-alive" }],
    ["a coding of the transfer", { "transfer-encoding": "chunked" }],
    ["a length without a body", { "content-length": "1" }],
  ])("HTTP/2: %s", async (_, fields) => {
    const { port, refusals } = await start();
    const raw = openHttp2(port);
    const block = headerBlock({ ":method": "GET", ...fields });
    raw.socket.write(frame(frameType.headers, flag.endHeaders | flag.endStream, 1, block));
    const ends: readonly number[] = [frameType.headers, frameType.rstStream];
    await until(() =>
      raw.frames().some(({ type, streamId }) => streamId === 1 && ends.includes(type)),
    );
    const [answer] = raw.frames().filter(({ streamId }) => streamId === 1);
    // 8c, 400 in HPACK's static table; or nghttp2's own refusal.
    if (answer?.type === frameType.headers) expect(answer.payload[0]).toBe(0x8c);
    else expect(answer?.payload).toEqual(uint32(constants.NGHTTP2_PROTOCOL_ERROR));
    expect(refusals.length).toBeLessThanOrEqual(1);
  });

  // nghttp2 drops such a field and passes on the rest of the request.
  test("HTTP/2: a field with a line break does not arrive", async () => {
    const seen: string[][] = [];
    const { port } = await start({
      handler: (req, res) => {
        seen.push(Object.keys(req.headers).filter((name) => name.startsWith("x-")));
        res.end();
      },
    });
    const fields = { "x-a": "a\r\nx-b: b", "x-c\nx-d": "d", "x-e": "e" };
    const raw = openHttp2(port);
    const block = headerBlock({ ":method": "GET", ...fields });
    raw.socket.write(frame(frameType.headers, flag.endHeaders | flag.endStream, 1, block));
    await until(() => seen.length > 0);
    expect(seen).toEqual([["x-e"]]);
  });

  test("after a good request: its answer is not mixed with ours", async () => {
    const responses: Response[] = [];
    const { port } = await start({ handler: (_req, res) => responses.push(res) });
    expect(await exchange(port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n\0\r\n\r\n")).toBe("");
    expect(responses).toHaveLength(1);
  });

  test.each([
    ["a broken preface", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"],
    ["no preface at all", "INVALID CONNECTION PREFACE\r\n\r\n"],
    ["another protocol", "\x16\x03\x01\0\0\0\r\n\r\n"],
  ])("%s closes the connection", async (_, bytes) => {
    const { port, refusals } = await start();
    const { socket, closed } = openSocket(port);
    socket.write(bytes);
    await closed;
    await until(() => refusals.length > 0);
    expect(refusals).toMatchObject([{ reason: "malformed", remoteAddress: "127.0.0.1" }]);
  });

  test.each([
    ["a continuation of nothing", frame(frameType.continuation, flag.endHeaders, 1)],
    ["data on no stream", frame(frameType.data, 0, 1, "x")],
    ["settings of the wrong length", frame(frameType.settings, 0, 0, "abc")],
    ["headers that are interrupted", Buffer.concat([frame(frameType.headers, 0, 1), open(3)])],
    ["headers that cannot be decompressed", frame(frameType.headers, 5, 1, Buffer.alloc(9, 255))],
    ["a frame that is too long", frame(frameType.data, 0, 1, Buffer.alloc(20_000))],
    ["a window of zero", frame(frameType.windowUpdate, 0, 0, uint32(0))],
  ])("HTTP/2: %s ends the connection", async (_, bytes) => {
    const { port, refusals } = await start({ limits: { ...shortLimits, idleTimeoutMs: 60_000 } });
    const { socket, frames, closed } = openHttp2(port);
    await until(() => frames().some(({ type }) => type === frameType.ping));
    await sleep(50);
    socket.write(bytes);
    await closed;
    expect(frames().some(({ type }) => type === frameType.goaway)).toBe(true);
    await until(() => refusals.length > 0);
    expect(refusals).toMatchObject([{ reason: "malformed" }]);
  });

  test("HTTP/2: an error beside a request ends the connection", async () => {
    const { port, refusals } = await start({ limits: { ...shortLimits, idleTimeoutMs: 60_000 } });
    const { socket, closed } = openHttp2(port);
    socket.write(Buffer.concat([open(1), frame(frameType.continuation, flag.endHeaders, 1)]));
    await closed;
    expect(refusals.length).toBeGreaterThan(0);
  });

  test("HTTP/2 headers: 431 up to eight times the limit, a reset past that, the rest unharmed", async () => {
    const { port, refusals } = await start();
    await withHttp2(port, async (session) => {
      await once(session, "remoteSettings");
      const sized = (bytes: number) => fetchHttp2(session, { x: "x".repeat(bytes) }, "body");
      expect(await sized(15_000)).toMatchObject({ status: 200 });
      expect(await sized(17_000)).toMatchObject({
        status: 431,
        headers: { "x-request-id": expect.stringMatching(uuid), "content-length": "0" },
      });
      await expect(sized(8 * defaultLimits.headerBytesMax)).rejects.toThrow();
      expect(await sized(1)).toMatchObject({ status: 200, body: "body" });
    });
    expect(refusals).toMatchObject([{ reason: "header_size", status: 431 }]);
  });
});

describe("slow senders", () => {
  test.each([
    ["nothing", "", ""],
    ["half a preface", "PRI * HT", ""],
    ["half a header", "GET / HTTP/1.1\r\nHos", "408"],
    ["half a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf", "408"],
    ["a preface alone", preface.toString(), "HTTP/2"],
  ])("%s", async (_, sent, expected) => {
    const { port, refusals } = await start({ limits: shortLimits });
    const answer = await exchange(port, sent);
    if (expected === "408") expectBareAnswer(answer, 408);
    else if (expected === "") expect(answer).toBe("");
    await until(() => refusals.length > 0);
    expect(refusals).toMatchObject([{ reason: "slow_request" }]);
  });

  test("a request that trickles in is cut off all the same", async () => {
    const { port } = await start({ limits: shortLimits });
    const { socket, closed } = openSocket(port);
    socket.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    const trickle = setInterval(() => socket.write("x"), 10);
    expectBareAnswer((await closed).toString(), 408);
    clearInterval(trickle);
  });

  test("HTTP/2: the stream gets 408, others go on, also where the body is not read", async () => {
    const { port } = await start({
      limits: shortLimits,
      handler: (req, res) => (req.url === "/unread" ? undefined : echo(req, res)),
    });
    await withHttp2(port, async (session) => {
      for (const path of ["/unread", "/read"]) {
        const slow = session.request({ ":method": "POST", ":path": path });
        const trickle = setInterval(() => slow.write("x"), 10);
        const [headers] = (await once(slow, "response")) as [Record<string, unknown>];
        clearInterval(trickle);
        expect(headers).toMatchObject({
          ":status": 408,
          "x-request-id": expect.stringMatching(uuid),
        });
        slow.close();
      }
      expect(await fetchHttp2(session, {}, "body")).toMatchObject({ status: 200, body: "body" });
    });
  });

  const beginning = (streamId: number) => frame(frameType.headers, 0, streamId, headerBlock());
  const longFrame = (type: number) => frame(type, 0, 1, Buffer.alloc(10_000)).subarray(0, 9);
  test.each([
    ["headers that stop short", beginning(1), ""],
    ["headers that stop short beside a request", Buffer.concat([open(1), beginning(3)]), ""],
    [
      "headers that trickle in",
      Buffer.concat([beginning(1), longFrame(frameType.continuation)]),
      "x",
    ],
    ["a frame of another type that trickles in", longFrame(99), "x"],
  ])("HTTP/2: %s", async (_, bytes, more) => {
    const { port, refusals } = await start({
      limits: { ...shortLimits, idleTimeoutMs: 60_000 },
      handler: (_req, res) => void (res as Http2ServerResponse).writeHead(200).write("more"),
    });
    const { socket, frames, closed } = openHttp2(port, { ack: false });
    await until(() => frames().length >= 2);
    socket.write(bytes);
    const trickle = setInterval(() => more && socket.write(more), 10);
    await closed;
    clearInterval(trickle);
    expect(refusals).toMatchObject([{ reason: "slow_request" }]);
  });

  test("HTTP/2: a client that is idle, pings, updates windows or listens is no slow sender", async () => {
    const { port, refusals } = await start({
      limits: { ...shortLimits, idleTimeoutMs: 60_000 },
      handler: (req, res) => {
        if (req.url !== "/listen") {
          echo(req, res);
          return;
        }
        res.writeHead(200);
        const more = setInterval(() => void (res as Http2ServerResponse).write("more"), 20);
        res.on("close", () => clearInterval(more));
      },
    });
    const uses: readonly ((session: ClientHttp2Session, i: number) => void)[] = [
      () => undefined,
      (session) => void session.ping(() => undefined),
      (session) => session.setLocalWindowSize((session.state.localWindowSize ?? 0) + 1000),
      (session, i) => {
        if (i === 0) session.request({ ":path": "/listen" }).resume();
      },
    ];
    const using = uses.map((use) =>
      withHttp2(port, async (session) => {
        await once(session, "remoteSettings");
        for (let i = 0; i < 10; i++) {
          use(session, i);
          await sleep(shortLimits.requestTimeoutMs / 5);
        }
        await sleep(2 * shortLimits.requestTimeoutMs);
        expect(await fetchHttp2(session, {}, "body")).toMatchObject({ status: 200 });
      }),
    );
    await Promise.all(using);
    expect(refusals).toEqual([]);
  });

  test("HTTP/2: nor is one whose request was refused before it came to be", async () => {
    const { port, refusals } = await start({
      limits: { ...shortLimits, idleTimeoutMs: 60_000 },
    });
    const { socket, frames } = openHttp2(port);
    const headers = (streamId: number, fields = {}) =>
      frame(frameType.headers, flag.endHeaders | flag.endStream, streamId, headerBlock(fields));
    socket.write(headers(1, { Upper: "case" }));
    await until(() => frames().some(({ type }) => type === frameType.rstStream));
    await sleep(3 * shortLimits.requestTimeoutMs);
    socket.write(headers(3));
    await until(() => frames().some(({ type }) => type === frameType.headers));
    expect(refusals).toEqual([]);
  });

  test("a slow handler is no slow sender, whether it reads the body or not", async () => {
    const { port } = await start({
      limits: shortLimits,
      handler: (req, res) => {
        if (req.url === "/read") req.resume();
        setTimeout(() => res.writeHead(200).end("late"), 3 * shortLimits.requestTimeoutMs);
      },
    });
    const http1 = ["/read", "/unread"].map((path) =>
      fetchHttp1({ port, path, method: "POST" }, "x"),
    );
    await withHttp2(port, async (session) => {
      const http2 = ["/read", "/unread"].map((path) => fetchHttp2(session, { ":path": path }, "x"));
      for (const answer of await Promise.all([...http1, ...http2])) {
        expect(answer).toMatchObject({ status: 200, body: "late" });
      }
    });
  });

  test("a stream that is being answered may go on both ways", async () => {
    const { port } = await start({
      limits: shortLimits,
      handler: (req, res) => {
        const { stream } = res as Http2ServerResponse;
        stream.respond();
        req.pipe(stream);
      },
    });
    await withHttp2(port, async (session) => {
      const stream = session.request({ ":method": "POST" });
      await once(stream, "response");
      await sleep(2 * shortLimits.requestTimeoutMs);
      stream.end("end");
      expect(String(await once(stream, "data"))).toBe("end");
    });
  });

  test("idle connections are closed, busy ones are not", async () => {
    // Long enough for a machine that is held up between two requests.
    const idleTimeoutMs = 2000;
    const { port, listener } = await start({ limits: { ...shortLimits, idleTimeoutMs } });
    const { socket, received, closed } = openSocket(port);
    const session = connectHttp2(`http://127.0.0.1:${port}`);
    const goaway = once(session, "goaway");
    for (let i = 0; i < 5; i++) {
      socket.write(`GET /${i} HTTP/1.1\r\nHost: a\r\n\r\n`);
      expect(await fetchHttp2(session)).toMatchObject({ status: 200 });
      await sleep(idleTimeoutMs / 3);
    }
    await closed;
    expect(
      received()
        .toString()
        .match(/200 OK/g),
    ).toHaveLength(5);
    expect((await goaway)[0]).toBe(0);
    await until(() => listener.connections() === 0);
  });
});

describe("a refused body", () => {
  const refuse = { handler: (_req: unknown, res: Response) => void res.writeHead(413).end("no") };

  test("HTTP/1.1: a short rest leaves the connection usable", async () => {
    const { port, listener } = await start({ ...refuse, limits: shortLimits });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const socketsSeen = new Set<number | undefined>();
    agent.on("free", (socket: { localPort?: number }) => socketsSeen.add(socket.localPort));
    for (let i = 0; i < 3; i++) {
      const answer = await fetchHttp1({ port, agent, method: "POST" }, "x".repeat(70_000));
      expect(answer).toMatchObject({ status: 413, body: "no" });
      await sleep(2 * shortLimits.lingerMs);
    }
    expect(socketsSeen.size).toBe(1);
    agent.destroy();
    await until(() => listener.connections() === 0);
  });

  test("HTTP/1.1: an endless rest is cut off after the answer", async () => {
    const { port } = await start({
      ...refuse,
      limits: { ...shortLimits, requestTimeoutMs: 60_000 },
    });
    const { socket, received, closed } = openSocket(port);
    socket.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
    const sending = setInterval(() => socket.write("x".repeat(10_000)), 10);
    await closed;
    clearInterval(sending);
    expect(
      received()
        .toString()
        .match(/HTTP\/1.1/g),
    ).toHaveLength(1);
    expect(received().toString()).toMatch(/^HTTP\/1.1 413 /);
  });

  test("HTTP/2: the stream ends, read from or not", async () => {
    const { port } = await start({
      limits: { ...shortLimits, requestTimeoutMs: 60_000 },
      handler: (req, res) => {
        const answer = () => void res.writeHead(413).end("no");
        if (req.url === "/read") req.once("data", answer);
        else answer();
      },
    });
    await withHttp2(port, async (session) => {
      for (const path of ["/read", "/unread"]) {
        const stream = session.request({ ":method": "POST", ":path": path });
        stream.on("error", () => undefined).resume();
        const sending = setInterval(() => stream.writable && stream.write("x".repeat(1000)), 10);
        await once(stream, "close");
        clearInterval(sending);
        expect(stream.rstCode).toBe(0);
      }
      expect(await fetchHttp2(session)).toMatchObject({ status: 413 });
    });
  });
});

describe("limits on connections and streams", () => {
  const tooMany = Buffer.concat(
    Array.from({ length: 130 }, (_, i) => {
      return frame(frameType.headers, flag.endHeaders | flag.endStream, 1 + 2 * i, headerBlock());
    }),
  );

  test("streams of an HTTP/2 connection that cannot know the limit yet are refused", async () => {
    const responses: Response[] = [];
    const { port } = await start({ handler: (_req, res) => responses.push(res) });
    const raw = openHttp2(port, { ack: false });
    raw.socket.write(tooMany);
    const resets = () => raw.frames().filter(({ type }) => type === frameType.rstStream);
    await until(() => resets().length === 2);
    expect(resets()).toMatchObject([
      { streamId: 257, payload: uint32(constants.NGHTTP2_REFUSED_STREAM) },
      { streamId: 259, payload: uint32(constants.NGHTTP2_REFUSED_STREAM) },
    ]);
    expect(responses).toHaveLength(128);
  });

  test("an HTTP/2 connection that passes the limit it knows is closed", async () => {
    const { port, refusals } = await start({ handler: () => undefined });
    const raw = openHttp2(port);
    await until(() => raw.frames().length >= 2);
    raw.socket.write(tooMany);
    await raw.closed;
    await until(() => refusals.length > 0);
    expect(refusals).toMatchObject([{ reason: "malformed" }]);
  });

  test("pipelined requests of an HTTP/1.1 connection", async () => {
    const { port, refusals } = await start({ handler: () => undefined });
    expect(await exchange(port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(129))).toBe("");
    expect(refusals).toMatchObject([{ reason: "streams" }]);
  });

  test("connections of a client network; a place is free again at once", async () => {
    const { port, listener, refusals } = await start({ limits: { connectionsPerNetworkMax: 2 } });
    const first = openSocket(port);
    openSocket(port);
    await until(() => listener.connections() === 2);
    expect(await exchange(port, "")).toBe("");
    expect(refusals).toEqual([{ reason: "connections", remoteAddress: "127.0.0.1" }]);
    first.socket.destroy();
    await until(() => listener.connections() === 1);
    expect(await fetchHttp1({ port })).toMatchObject({ status: 200 });
  });

  test("networks are those of networkOf; who has none is not counted", async () => {
    const { port, listener } = await start({
      limits: { connectionsPerNetworkMax: 1 },
      networkOf: (address) => (address === "127.0.0.1" ? undefined : address),
    });
    for (let i = 0; i < 3; i++) openSocket(port);
    await until(() => listener.connections() === 3);
  });

  test("streams of a client network, over its connections and both protocols", async () => {
    const { port, refusals } = await start({
      limits: { streamsPerNetworkMax: 4 },
      handler: (req, res) => (req.url === "/slow" ? undefined : echo(req, res)),
    });
    const slow = openHttp2(port);
    const block = headerBlock({ ":path": "/slow" });
    const ids = [1, 3, 5, 7];
    slow.socket.write(
      Buffer.concat(ids.map((id) => frame(frameType.headers, flag.endHeaders, id, block))),
    );
    await until(() => slow.frames().length >= 2);
    await expect(fetchHttp1({ port })).rejects.toMatchObject({ code: "ECONNRESET" });
    expect(refusals).toEqual([{ reason: "streams", remoteAddress: "127.0.0.1" }]);
    slow.socket.write(frame(frameType.rstStream, 0, 1, Buffer.from([0, 0, 0, 8])));
    await sleep(50);
    expect(await fetchHttp1({ port })).toMatchObject({ status: 200 });
    slow.socket.destroy();
    await sleep(50);
    const answers = Array.from({ length: 4 }, () => fetchHttp1({ port }));
    expect(await Promise.all(answers)).toHaveLength(4);
  });

  test("a connection that breaks off within a refused body gives its request back", async () => {
    const { port, listener } = await start({
      limits: { streamsPerNetworkMax: 1 },
      handler: (_req, res) => void res.writeHead(413).end(),
    });
    openSocket(port);
    const { socket, received } = openSocket(port);
    socket.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    await until(() => received().includes("413"));
    await expect(fetchHttp1({ port })).rejects.toMatchObject({ code: "ECONNRESET" });
    socket.resetAndDestroy();
    await until(() => listener.connections() === 1);
    expect(await fetchHttp1({ port })).toMatchObject({ status: 413 });
  });
});

describe("clients that go away", () => {
  test("HTTP/1.1: one that has sent all and ended still gets its answer", async () => {
    const { port } = await start();
    const { socket, closed } = openSocket(port, true);
    socket.end("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect((await closed).toString()).toMatch(/^HTTP\/1.1 200 /);
  });

  /** Answers after what takes a while, and notes how each answer ended. */
  function slow(ends: boolean[]): (req: unknown, res: Response) => void {
    return (_req, res) => {
      const answer = setTimeout(() => res.writeHead(200).end("late"), 1_500);
      res.once("close", () => {
        clearTimeout(answer);
        ends.push(res.writableFinished);
      });
    };
  }

  test("HTTP/1.1: one that has ended and waits long is asked whether it is there", async () => {
    const ends: boolean[] = [];
    const { port } = await start({ handler: slow(ends) });
    const { socket, closed } = openSocket(port, true);
    socket.end("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const answer = (await closed).toString();
    expect(answer).toMatch(/^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200 OK\r\n[^]*late/);
    expect(ends).toEqual([true]);
  });

  test("HTTP/1.1: one that has left is noticed before its answer is due", async () => {
    const ends: boolean[] = [];
    const { port, listener } = await start({ handler: slow(ends) });
    const { socket } = openSocket(port);
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await until(() => listener.connections() === 1);
    await sleep(50);
    socket.destroy();
    await until(() => listener.connections() === 0);
    expect(ends).toEqual([false]);
  });

  test("HTTP/1.1: one that has ended and whose answer never ends is cut", async () => {
    const { port, listener } = await start({
      limits: shortLimits,
      handler: (_req, res) => void (res as Http2ServerResponse).writeHead(200).write("more"),
    });
    openSocket(port, true).socket.end("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await until(() => listener.connections() === 1);
    await until(() => listener.connections() === 0);
  });

  test("HTTP/2: the session ends with the client's FIN", async () => {
    const { port, listener } = await start();
    const { socket } = openHttp2(port);
    await until(() => listener.connections() === 1);
    socket.end();
    await until(() => listener.connections() === 0);
  });

  test("half a preface and a FIN", async () => {
    const { port, listener } = await start();
    openSocket(port).socket.end("PRI * ");
    await sleep(50);
    await until(() => listener.connections() === 0);
  });

  const post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789";
  const stream = Buffer.concat([
    preface,
    frame(frameType.settings, 0, 0),
    frame(frameType.headers, flag.endHeaders, 1, headerBlock()),
    frame(frameType.data, flag.endStream, 1, "body"),
  ]);
  test.each([
    ["HTTP/1.1", Buffer.from(post.repeat(2))],
    ["HTTP/2", stream],
  ])("resets in every phase of %s harm nobody", async (_, bytes) => {
    const { port, listener } = await start({
      handler: (req, res) => {
        req.on("error", () => undefined);
        setTimeout(() => echo(req, res), 5);
      },
    });
    for (let length = 0; length <= bytes.length; length += 3) {
      const { socket } = openSocket(port);
      await once(socket, "connect");
      socket.write(bytes.subarray(0, length));
      await sleep(length % 2 === 0 ? 0 : 7);
      socket.resetAndDestroy();
    }
    await until(() => listener.connections() === 0);
    expect(await fetchHttp1({ port })).toMatchObject({ status: 200 });
  });
});
