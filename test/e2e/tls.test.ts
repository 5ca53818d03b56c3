/** TLS by configuration: the faults, mTLS, and certificates that are replaced while it serves. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { Agent, request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { makeCertificate, type Certificate } from "../support/certificates.js";
import { basic } from "../support/http.js";
import { fetchHttp2 } from "../support/listener.js";
import { eventually, runCommand } from "../support/server-process.js";
import { keptLogs, startService, type RunningService } from "../support/service.js";

const authorization = basic("TestUser", "password");
let [first, second, authority, client]: Certificate[] = [];
let folder: string;
beforeAll(() => {
  first = makeCertificate("first");
  second = makeCertificate("second");
  authority = makeCertificate("authority");
  client = makeCertificate("client", authority);
  folder = mkdtempSync(join(tmpdir(), "latchkey-tls-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const path = (name: string) => join(folder, name);
const files = () => ({ TLS_CERT_FILE: path("cert.pem"), TLS_KEY_FILE: path("key.pem") });
function write(certificate: Certificate | undefined, key = certificate?.key): void {
  writeFileSync(path("cert.pem"), certificate?.cert ?? "");
  writeFileSync(path("key.pem"), key ?? "");
}
const trusted = () => [first?.cert ?? "", second?.cert ?? ""];

/** The status of a login over HTTP/1.1; rejects where there was none. */
function login(url: string, agent: Agent): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const options = { agent, method: "POST", headers: { authorization } };
    request(new URL("/api/auth/token", url), options, (res) => {
      res.resume().once("end", () => resolve(res.statusCode));
    })
      .once("error", reject)
      .end();
  });
}

async function commonName(url: string): Promise<string> {
  const { port } = new URL(url);
  const socket = connectTls({ port: Number(port), ca: trusted(), servername: "localhost" });
  await once(socket, "secureConnect");
  const { subject } = socket.getPeerCertificate();
  socket.destroy();
  return String(subject.CN);
}

let service: RunningService | undefined;
let agents: Agent[] = [];
const newAgent = (options: object = {}) => {
  const agent = new Agent({ keepAlive: true, servername: "localhost", ca: trusted(), ...options });
  agents.push(agent);
  return agent;
};
afterEach(async () => {
  agents.forEach((agent) => agent.destroy());
  agents = [];
  await service?.close();
  service = undefined;
});

describe("the certificate of the configuration", () => {
  test("serves HTTP/1.1 and HTTP/2 on the one port", async () => {
    write(first);
    service = await startService(files());
    expect(service.url).toMatch(/^https:/);
    expect(await login(service.url, newAgent())).toBe(200);
    const session = connectHttp2(service.url, { ca: trusted(), servername: "localhost" });
    const call = { ":path": "/api/auth/token", authorization };
    expect((await fetchHttp2(session, call, "")).status).toBe(200);
    session.destroy();
  });

  test("with authorities for clients, one without their certificate is not let in", async () => {
    write(first);
    writeFileSync(path("ca.pem"), authority?.cert ?? "");
    service = await startService({ ...files(), TLS_CLIENT_CA_FILE: path("ca.pem") });
    expect(await login(service.url, newAgent({ ...client, ca: trusted() }))).toBe(200);
    await expect(login(service.url, newAgent())).rejects.toThrow();
    await expect(login(service.url, newAgent({ ...second, ca: trusted() }))).rejects.toThrow();
  });

  test("is replaced without dropping a connection; a broken pair keeps the one in use", async () => {
    write(first);
    const lines: string[] = [];
    const running = (service = await startService(files(), undefined, {
      logs: keptLogs(lines),
      tlsIntervalMs: 20,
    }));
    const logged = (event: string) => () =>
      Promise.resolve(lines.some((line) => line.includes(`"event":"${event}"`)));
    const agent = newAgent({ maxSockets: 1 });
    expect(await login(running.url, agent)).toBe(200);
    const sockets = Object.values(agent.freeSockets).flat();

    write(second, first?.key);
    await eventually(logged("tls_reload_failed"), Boolean);
    expect(await commonName(running.url)).toBe("first");

    write(second);
    await eventually(logged("tls_reloaded"), Boolean);
    expect(await commonName(running.url)).toBe("second");
    expect(await login(running.url, agent)).toBe(200);
    expect(Object.values(agent.freeSockets).flat()).toEqual(sockets);
    for (const { key } of [first, second] as Certificate[]) {
      expect(lines.join("")).not.toContain(key.split("\n")[1]);
    }
  });

  test("no handshake fails while certificates change under load", async () => {
    write(first);
    const running = (service = await startService(files(), undefined, { tlsIntervalMs: 10 }));
    const seen = new Set<string>();
    let over = false;
    const connecting = Array.from({ length: 4 }, async () => {
      while (!over) seen.add(await commonName(running.url));
    });
    for (let i = 0; i < 6; i++) {
      const [pair, name] = i % 2 ? [first, "first"] : [second, "second"];
      write(pair);
      await eventually(
        () => commonName(running.url),
        (current) => current === name,
      );
    }
    over = true;
    await Promise.all(connecting);
    expect([...seen].sort()).toEqual(["first", "second"]);
  });
});

describe("a certificate that cannot be used ends the start with 78", () => {
  test.each([
    ["half a pair", { TLS_KEY_FILE: undefined }, "must be set together"],
    ["a missing file", { TLS_KEY_FILE: "/nowhere/key.pem" }, "ENOENT"],
    ["authorities alone", { TLS_CLIENT_CA_FILE: "ca.pem", ...unset() }, "needs TLS_CERT_FILE"],
  ])("%s", async (_, env, fault) => {
    write(first);
    const set = Object.entries({ ...files(), ...env }).filter(([, value]) => value !== undefined);
    const result = await runCommand(["serve"], Object.fromEntries(set) as Record<string, string>);
    expect(result).toMatchObject({ exitCode: 78, stderr: expect.stringContaining(fault) });
  });

  test("somebody else's key", async () => {
    write(first, second?.key);
    const result = await runCommand(["serve"], files());
    expect(result).toMatchObject({ exitCode: 78, stderr: expect.stringContaining("TLS key") });
  });
});

function unset() {
  return { TLS_CERT_FILE: undefined, TLS_KEY_FILE: undefined };
}
