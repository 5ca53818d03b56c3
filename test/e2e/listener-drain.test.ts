import { describe, expect, test } from "@jest/globals";
import { once } from "node:events";
import { Agent } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { setTimeout as sleep } from "node:timers/promises";
import type { Request, Response } from "../../src/server/connections.js";
import { flag, frame, frameType, headerBlock, openHttp2 } from "../support/http2-frames.js";
import {
  echo,
  fetchHttp1,
  fetchHttp2,
  openSocket,
  shortLimits,
  start,
  StreamError,
  until,
} from "../support/listener.js";

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
const slowly = (ms: number) => (req: Request, res: Response) => {
  setTimeout(() => echo(req, res), ms);
};

describe("drain", () => {
  test("without connections it is over at once, and may be asked for twice", async () => {
    const { listener, port } = await start();
    await Promise.all([listener.drain(10_000), listener.drain(10_000)]);
    await expect(fetchHttp1({ port })).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  test("HTTP/1.1: what is in progress finishes and is told to close", async () => {
    const { port, listener } = await start({ handler: slowly(200) });
    const agent = new Agent({ keepAlive: true });
    const answers = Promise.all([1, 2, 3].map(() => fetchHttp1({ port, agent })));
    await until(() => listener.connections() === 3);
    await sleep(50);
    await listener.drain(10_000);
    for (const { status, headers } of await answers) {
      expect({ status, connection: headers.connection }).toEqual({
        status: 200,
        connection: "close",
      });
    }
  });

  test("HTTP/1.1: a kept-alive connection is still served once", async () => {
    const { port, listener } = await start({ limits: { drainIdleMs: 60_000 } });
    const { socket, received, closed } = openSocket(port);
    socket.write(get("/before"));
    await until(() => received().includes("x-path: /before"));
    const drained = listener.drain(60_000);
    await sleep(100);
    socket.write(get("/during"));
    expect((await closed).toString()).toMatch(/x-path: \/during\r/);
    expect(
      received()
        .toString()
        .match(/connection: .*/gi),
    ).toEqual(["Connection: keep-alive", "connection: close"]);
    await drained;
  });

  test("HTTP/1.1: all pipelined requests are answered, the last one closes", async () => {
    const { port, listener } = await start({ handler: slowly(100) });
    const { socket, closed } = openSocket(port);
    socket.write(get("/1") + get("/2"));
    await until(() => listener.connections() === 1);
    await sleep(30);
    const drained = listener.drain(10_000);
    socket.write(get("/3"));
    const answers = (await closed).toString();
    expect(answers.match(/x-path: \/\d/g)).toEqual(["x-path: /1", "x-path: /2", "x-path: /3"]);
    expect(answers.match(/connection: close/gi)).toHaveLength(1);
    await drained;
  });

  test("idle and silent connections are closed after drainIdleMs", async () => {
    const { port, listener } = await start({ limits: { drainIdleMs: 100 } });
    const agent = new Agent({ keepAlive: true });
    await fetchHttp1({ port, agent });
    openHttp2(port);
    openSocket(port);
    openSocket(port).socket.write("PRI");
    await until(() => listener.connections() === 4);
    await listener.drain(60_000);
    agent.destroy();
  });

  test("HTTP/2: GOAWAY names what is still served", async () => {
    const { port, listener } = await start({ handler: slowly(200) });
    const raw = openHttp2(port);
    const request = (streamId: number) =>
      frame(frameType.headers, flag.endHeaders | flag.endStream, streamId, headerBlock());
    raw.socket.write(request(1));
    await sleep(50);
    const drained = listener.drain(10_000);
    const goaway = () => raw.frames().find(({ type }) => type === frameType.goaway);
    await until(() => goaway() !== undefined);
    expect(goaway()?.payload.toString("hex")).toBe("0000000100000000");
    raw.socket.write(request(3));
    await raw.closed;
    const answered = raw.frames().filter(({ type }) => type === frameType.headers);
    expect(answered.map(({ streamId }) => streamId)).toEqual([1]);
    await drained;
  });

  test("what does not finish is cut after the grace", async () => {
    const { port, listener } = await start({ handler: () => undefined, limits: shortLimits });
    const http1 = expect(fetchHttp1({ port })).rejects.toMatchObject({ code: "ECONNRESET" });
    const session = connectHttp2(`http://127.0.0.1:${port}`);
    session.on("error", () => undefined);
    const http2 = expect(fetchHttp2(session)).rejects.toThrow();
    await until(() => listener.connections() === 2);
    await listener.drain(200);
    expect(listener.connections()).toBe(0);
    await Promise.all([http1, http2]);
  });

  test("under load no request is lost", async () => {
    const { port, listener } = await start({ handler: slowly(5), limits: { drainIdleMs: 500 } });
    let answered = 0;
    const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code;
    const http1 = async () => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      for (;;) {
        const answer = fetchHttp1({ port, agent, method: "POST" }, "body");
        const code = await answer.then(() => undefined, codeOf);
        if (code !== undefined) return code;
        expect(await answer).toMatchObject({ status: 200, body: "body" });
        answered++;
      }
    };
    const http2 = async () => {
      for (;;) {
        const session = connectHttp2(`http://127.0.0.1:${port}`);
        const code = await once(session, "connect").then(() => undefined, codeOf);
        if (code !== undefined) return code;
        const goaways: number[] = [];
        session.on("goaway", (_code, lastStreamId: number) => goaways.push(lastStreamId));
        while (goaways.length === 0) {
          const answer: unknown = await fetchHttp2(session, {}, "body").catch((e: unknown) => e);
          // A request that the server says it has not seen may be sent again.
          if (answer instanceof StreamError) {
            expect(answer.streamId).toBeGreaterThan(goaways[0] ?? NaN);
          } else expect(answer).toMatchObject({ status: 200, body: "body" });
          answered++;
        }
      }
    };
    const clients = Array.from({ length: 8 }, (_, i) => (i % 2 ? http1() : http2()));
    await until(() => answered > 100);
    await listener.drain(10_000);
    expect(await Promise.all(clients)).toEqual(clients.map(() => "ECONNREFUSED"));
  });
});
