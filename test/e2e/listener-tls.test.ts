import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { Agent, request as httpsRequest } from "node:https";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from "node:tls";
import type { Response } from "../../src/server/connections.js";
import { readTlsFiles, watchTlsFiles, type TlsMaterial } from "../../src/server/tls.js";
import { makeCertificate, type Certificate } from "../support/certificates.js";
import { fetchHttp2, openSocket, shortLimits, start, until } from "../support/listener.js";

let first: Certificate;
let second: Certificate;
let authority: Certificate;
let client: Certificate;

beforeAll(() => {
  first = makeCertificate("first");
  second = makeCertificate("second");
  authority = makeCertificate("authority");
  client = makeCertificate("client", authority);
});

/** A connection to the server, or what it failed with. */
async function handshake(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connectTls({
    port,
    host: "127.0.0.1",
    servername: "localhost",
    ca: [first.cert, second.cert],
    ...options,
  });
  await once(socket, "secureConnect");
  return socket.on("error", () => undefined);
}

async function commonName(port: number): Promise<string | string[] | undefined> {
  const socket = await handshake(port);
  const { subject } = socket.getPeerCertificate();
  socket.destroy();
  return subject.CN;
}

/** What a client got, which in TLS 1.3 may take itself for connected before the server refuses it. */
async function answerTo(port: number, options: ConnectionOptions): Promise<string> {
  let answer = "";
  const socket = await handshake(port, options);
  socket.on("data", (data: Buffer) => (answer += data.toString()));
  socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  await new Promise((resolve) => socket.on("close", resolve));
  return answer;
}

function get(port: number, agent: Agent): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const options = { port, host: "127.0.0.1", servername: "localhost", agent };
    const req = httpsRequest({ ...options, ca: [first.cert, second.cert] }, (res) => {
      res.resume().on("end", () => resolve(res.statusCode));
    });
    req.on("error", reject).end();
  });
}

describe("TLS", () => {
  test("HTTP/2 and HTTP/1.1 by ALPN, HTTP/1.1 without", async () => {
    const { port, listener } = await start({ tls: first });
    const session = connectHttp2(`https://localhost:${port}`, { ca: first.cert });
    expect(await fetchHttp2(session, {}, "body")).toMatchObject({ status: 200, body: "body" });
    expect(session.alpnProtocol).toBe("h2");
    session.destroy();
    for (const options of [{ ALPNProtocols: ["http/1.1"] }, {}]) {
      const socket = await handshake(port, options);
      socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      expect(String(await once(socket, "data"))).toMatch(/^HTTP\/1.1 200 /);
      socket.destroy();
    }
    await until(() => listener.connections() === 0);
  });

  test("refuses TLS 1.1, foreign protocols and cleartext, and says so", async () => {
    const { port, refusals } = await start({ tls: first });
    const old = {
      minVersion: "TLSv1.1",
      maxVersion: "TLSv1.1",
      ciphers: "ALL@SECLEVEL=0",
    } as const;
    await expect(handshake(port, old)).rejects.toThrow();
    await expect(handshake(port, { ALPNProtocols: ["spdy/3"] })).rejects.toThrow();
    const { socket, closed } = openSocket(port);
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await closed;
    await until(() => refusals.length === 3);
    expect(refusals.map(({ reason }) => reason)).toEqual(["tls", "tls", "tls"]);
  });

  test("silence before or after the handshake is ended", async () => {
    const { port, listener, refusals } = await start({ tls: first, limits: shortLimits });
    await openSocket(port).closed;
    for (const protocol of ["http/1.1", "h2"]) {
      const socket = await handshake(port, { ALPNProtocols: [protocol] });
      socket.resume();
      await once(socket, "close");
    }
    await until(() => listener.connections() === 0);
    expect(refusals.map(({ reason }) => reason)).toEqual(["tls", "slow_request", "slow_request"]);
  });

  /** The client's side of a connection, which it can end alone. */
  async function halfOpen(port: number, protocol: string): Promise<[TLSSocket, Promise<string>]> {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    const secure = await handshake(port, { socket, ALPNProtocols: [protocol] });
    let answer = "";
    secure.on("data", (chunk: Buffer) => (answer += chunk.toString()));
    return [secure, once(socket, "close").then(() => answer)];
  }

  const late = (_req: unknown, res: Response) =>
    void setTimeout(() => res.writeHead(200).end("late"), 100);

  test("HTTP/1.1: one that has sent all and ended still gets its answer", async () => {
    const { port, listener } = await start({ tls: first, handler: late });
    const [client, answer] = await halfOpen(port, "http/1.1");
    client.end("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(await answer).toMatch(/^HTTP\/1.1 200 OK\r\n[^]*late/);
    await until(() => listener.connections() === 0);
  });

  test("HTTP/1.1: one that has left is noticed before its answer is due", async () => {
    const { port, listener } = await start({ tls: first, handler: () => undefined });
    const client = await handshake(port);
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await until(() => listener.connections() === 1);
    client.destroy();
    await until(() => listener.connections() === 0);
  });

  test("HTTP/1.1: one that ends without a request is let go", async () => {
    const { port, listener } = await start({ tls: first });
    const [client, answer] = await halfOpen(port, "http/1.1");
    client.end();
    expect(await answer).toBe("");
    await until(() => listener.connections() === 0);
  });

  test("HTTP/2: the session ends with the client's FIN", async () => {
    const { port, listener } = await start({ tls: first });
    const [client, answer] = await halfOpen(port, "h2");
    client.end("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    await answer;
    await until(() => listener.connections() === 0);
  });

  test("a client that ends within its handshake is let go", async () => {
    const { port, refusals } = await start({ tls: first });
    for (const sent of ["", "\x16\x03\x01\x02\0\x01"]) {
      const { socket, closed } = openSocket(port, true);
      socket.end(Buffer.from(sent, "latin1"));
      await closed;
    }
    await until(() => refusals.length === 2);
    expect(refusals.map(({ reason }) => reason)).toEqual(["tls", "tls"]);
  });

  test("counts connections and streams of a client network", async () => {
    const { port, listener, refusals } = await start({
      tls: first,
      limits: { connectionsPerNetworkMax: 2, streamsPerNetworkMax: 2 },
      handler: () => undefined,
    });
    const session = connectHttp2(`https://localhost:${port}`, { ca: first.cert });
    session.on("error", () => undefined);
    await once(session, "connect");
    const other = await handshake(port);
    await expect(handshake(port)).rejects.toThrow();
    await Promise.allSettled([1, 2, 3].map(() => fetchHttp2(session)));
    other.destroy();
    await until(() => listener.connections() === 0);
    expect(refusals.map(({ reason }) => reason)).toEqual(["connections", "streams"]);
  });

  test("a drain cuts what hangs, in the handshake too", async () => {
    const { port, listener } = await start({ tls: first, handler: () => undefined });
    openSocket(port);
    const session = connectHttp2(`https://localhost:${port}`, { ca: first.cert });
    session.on("error", () => undefined);
    const hanging = expect(fetchHttp2(session)).rejects.toThrow();
    await until(() => listener.connections() === 2);
    await sleep(50);
    await listener.drain(100);
    await hanging;
    expect(listener.connections()).toBe(0);
  });

  test("with client authorities every client needs a certificate of theirs", async () => {
    const { port } = await start({ tls: { ...first, ca: authority.cert } });
    expect(await answerTo(port, client)).toMatch(/^HTTP\/1.1 200 /);
    expect(await answerTo(port, {})).toBe("");
    expect(await answerTo(port, second)).toBe("");
  });

  test.each<[string, () => TlsMaterial]>([
    ["a key of another certificate", () => ({ cert: first.cert, key: second.key })],
    ["no certificate", () => ({ cert: "", key: first.key })],
    ["half a certificate", () => ({ cert: first.cert.slice(0, 200), key: first.key })],
    ["no key", () => ({ cert: first.cert, key: "" })],
    ["an empty authority", () => ({ ...first, ca: "" })],
    ["an authority that is none", () => ({ ...first, ca: "not a certificate" })],
  ])("%s is refused at start and at a reload, which changes nothing", async (_, material) => {
    await expect(start({ tls: material() })).rejects.toThrow();
    const { port, listener } = await start({ tls: first });
    expect(() => listener.reloadTls(material())).toThrow();
    expect(await commonName(port)).toBe("first");
  });
});

describe("reload", () => {
  test("cannot turn TLS or client certificates on or off", async () => {
    const cleartext = await start();
    expect(() => cleartext.listener.reloadTls(first)).toThrow("no TLS");
    const mutual = await start({ tls: { ...first, ca: authority.cert } });
    expect(() => mutual.listener.reloadTls(second)).toThrow("whether clients need");
  });

  test("another authority: clients of the old one are refused", async () => {
    const { port, listener } = await start({ tls: { ...first, ca: authority.cert } });
    listener.reloadTls({ ...first, ca: second.cert });
    expect(await answerTo(port, client)).toBe("");
  });

  test("under load: no request is lost, new connections get the new certificate", async () => {
    const { port, listener } = await start({ tls: first });
    const running = new AbortController();
    const session = connectHttp2(`https://localhost:${port}`, { ca: first.cert });
    const statuses = new Set<number | undefined>();
    const kept = new Agent({ keepAlive: true, maxSockets: 1 });
    const fresh = new Agent({ keepAlive: false });
    const load = [
      async () => statuses.add(await get(port, kept)),
      async () => statuses.add(await get(port, fresh)),
      async () => statuses.add((await fetchHttp2(session)).status),
    ].map(async (once) => {
      while (!running.signal.aborted) await once();
    });
    for (const material of [second, first, second]) {
      await sleep(100);
      listener.reloadTls(material);
      expect(await commonName(port)).toBe(material === first ? "first" : "second");
    }
    running.abort();
    await Promise.all(load);
    expect([...statuses]).toEqual([200]);
    expect(session.destroyed).toBe(false);
    session.destroy();
    kept.destroy();
  });
});

describe("watch", () => {
  const folder = mkdtempSync(join(tmpdir(), "latchkey-tls-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  /** Files as Kubernetes mounts them: links to a link that is swapped. */
  function publish(version: string, { cert, key }: Certificate): void {
    mkdirSync(join(folder, version));
    writeFileSync(join(folder, version, "cert.pem"), cert);
    writeFileSync(join(folder, version, "key.pem"), key);
    symlinkSync(version, join(folder, "data.new"));
    renameSync(join(folder, "data.new"), join(folder, "data"));
  }

  test("follows swapped links and rewritten files, keeps what works", async () => {
    publish("v1", first);
    const files = { certFile: join(folder, "cert.pem"), keyFile: join(folder, "key.pem") };
    symlinkSync("data/cert.pem", files.certFile);
    symlinkSync("data/key.pem", files.keyFile);
    const current = await readTlsFiles(files);
    const { port, listener } = await start({ tls: current });
    const errors: unknown[] = [];
    let reloads = 0;
    const stop = watchTlsFiles({
      files,
      current,
      reload: (material) => {
        listener.reloadTls(material);
        reloads++;
      },
      onError: (error) => errors.push(error),
      intervalMs: 20,
    });
    await sleep(100);
    expect({ reloads, errors }).toEqual({ reloads: 0, errors: [] });

    publish("v2", second);
    await until(() => reloads === 1);
    expect(await commonName(port)).toBe("second");

    writeFileSync(join(folder, "v2", "cert.pem"), first.cert);
    await until(() => errors.length === 1);
    rmSync(join(folder, "v2", "key.pem"));
    await until(() => errors.length === 2);
    await sleep(100);
    expect(errors).toHaveLength(2);
    expect(await commonName(port)).toBe("second");

    writeFileSync(join(folder, "v2", "key.pem"), first.key);
    await until(() => reloads === 2);
    expect(await commonName(port)).toBe("first");

    stop();
    publish("v3", second);
    await sleep(100);
    expect(reloads).toBe(2);
  });
});
