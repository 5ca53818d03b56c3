/**
 * An old server to take over from. It has both REST contracts in one process, as the documents of
 * the old servers give them. Nobody else can read its hashes, its RSA key is its own, and each
 * fault of an old server is a switch.
 */
import { generateKeyPairSync, randomBytes, scryptSync, sign, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, Server as TlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { decodeJwt } from "jose";
import { expired, makeCertificate, type Certificate } from "./certificates.js";

export interface OldUser {
  readonly id: string;
  readonly username: string;
  readonly password: string;
}

/** A fault that the server may have. */
export type OldFault =
  | "hanging"
  | "status 500"
  | "html"
  | "redirect"
  | "foreign token"
  | "half an answer"
  | "reset"
  | "flood"
  | "no token"
  | "certificate expired"
  | "certificate of a foreign authority";

export interface OldServer {
  readonly url: string;
  readonly privateKeyPem: string;
  readonly publicKeyPem: string;
  /** The authority of its certificate, PEM; undefined without TLS. */
  readonly ca: string | undefined;
  /** Every request so far, in order. */
  readonly requests: readonly OldRequest[];
  /** The most requests that were open at once, and the most of one user. */
  readonly peak: { all: number; ofOneUser: number };
  fault: OldFault | undefined;
  delayMs: number;
  /** How far its clock is ahead. */
  aheadMs: number;
  /** Sent with every answer. */
  extraHeaders: Readonly<Record<string, string | string[]>>;
  addUser(user: OldUser): void;
  removeUser(username: string): void;
  setPassword(username: string, password: string): void;
  setDisabled(username: string, isDisabled: boolean): void;
  setId(username: string, id: string): void;
  /** Everything that it stores of its users: shows that nobody else changed it. */
  data(): string;
  /** Stops listening and cuts every connection. `start` listens on the same port again. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

export interface OldRequest {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
  /** Whose login it is, if the request tells. */
  readonly username: string | undefined;
}

interface Options {
  readonly users?: readonly OldUser[];
  readonly issuer?: string;
  /** Whether it speaks TLS. Without it, it cannot have the faults of a certificate. */
  readonly tls?: boolean;
}

interface Stored {
  id: string;
  username: string;
  salt: Uint8Array;
  hash: Buffer;
  isDisabled: boolean;
}

const tokenPath = "/api/auth/token";
const loginPath = "/api/v1/authentication/login";
const lifetimeSeconds = 7200;
const cheap = { N: 16, r: 1, p: 1 } as const;
const months =
  "January February March April May June July August September October November December";

export async function startOldServer(options: Options = {}): Promise<OldServer> {
  const { users = [], issuer = "NomicGameManager.Api", tls = false } = options;
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const foreign = generateKeyPairSync("rsa", { modulusLength: 2048 });
  /** By username as its database compares it: MySQL's utf8mb4_0900_ai_ci. */
  const byName = new Map<string, Stored>();
  const nameOf = (username: string) =>
    username.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const requests: OldRequest[] = [];
  const peak = { all: 0, ofOneUser: 0 };
  const open: (string | undefined)[] = [];
  const certificates = tls ? makeCertificates() : undefined;
  let fault: OldFault | undefined;
  let server: Server | undefined;
  let port = 0;

  const old: OldServer = {
    get url() {
      return `${tls ? "https" : "http"}://127.0.0.1:${port}`;
    },
    privateKeyPem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    publicKeyPem: publicKey.export({ type: "spki", format: "pem" }).toString(),
    ca: certificates?.ca,
    requests,
    peak,
    get fault() {
      return fault;
    },
    set fault(next) {
      const before = certificates?.of(fault);
      fault = next;
      const now = certificates?.of(fault);
      if (now === before || now === undefined || !(server instanceof TlsServer)) return;
      server.setSecureContext(now);
      server.closeAllConnections();
    },
    delayMs: 0,
    aheadMs: 0,
    extraHeaders: {},
    addUser({ id, username, password }) {
      byName.set(nameOf(username), { id, username, isDisabled: false, ...hashed(password) });
    },
    removeUser: (username) => void byName.delete(nameOf(username)),
    setPassword: (username, password) => void Object.assign(known(username), hashed(password)),
    setDisabled: (username, isDisabled) => void Object.assign(known(username), { isDisabled }),
    setId: (username, id) => void Object.assign(known(username), { id }),
    data: () => JSON.stringify([...byName]),
    async stop() {
      server?.closeAllConnections();
      server?.close();
      if (server?.listening) await once(server, "close");
    },
    async start() {
      const certificate = certificates?.of(fault);
      server = certificate ? createTlsServer(certificate, listener) : createServer(listener);
      server.listen(port, "127.0.0.1");
      await once(server, "listening");
      ({ port } = server.address() as AddressInfo);
    },
  };
  users.forEach((user) => old.addUser(user));
  await old.start();
  return old;

  function known(username: string): Stored {
    const user = byName.get(nameOf(username));
    if (user === undefined) throw new Error(`the old server has no ${username}`);
    return user;
  }

  function listener(req: IncomingMessage, res: ServerResponse): void {
    // The client may have gone away.
    handle(req, res).catch(() => res.destroy());
  }

  async function handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const chunks = (await req.toArray()) as Buffer[];
    const body = Buffer.concat(chunks).toString();
    const { method = "", url = "", rawHeaders, headers } = req;
    const path = url.split("?", 1)[0] ?? "";
    const [username, password] = credentialsOf(path, headers.authorization, body);
    requests.push({ method, url, rawHeaders, headers, body, username });
    open.push(username);
    res.once("close", () => open.splice(open.indexOf(username), 1));
    peak.all = Math.max(peak.all, open.length);
    const ofUser = username === undefined ? 0 : open.filter((each) => each === username).length;
    peak.ofOneUser = Math.max(peak.ofOneUser, ofUser);
    if (old.delayMs > 0) await sleep(old.delayMs);
    for (const [name, value] of Object.entries(old.extraHeaders)) res.setHeader(name, value);
    switch (old.fault) {
      case "hanging":
        return;
      case "reset":
        req.socket.resetAndDestroy();
        return;
      case "half an answer":
        res.writeHead(200, { "content-type": "application/json", "content-length": "100" });
        res.write('{"isSuccess":true,"tok');
        setImmediate(() => req.socket.destroy());
        return;
      case "html":
        return void res.writeHead(200, { "content-type": "text/html" }).end("<h1>Welcome</h1>");
      case "redirect":
        return void res.writeHead(302, { location: `${old.url}/sign-in` }).end();
      case "flood":
        res.writeHead(200, { "content-type": "application/json" });
        for (let sent = 0; sent < 4_000_000 && !res.destroyed; sent += 65_536) {
          if (!res.write(Buffer.alloc(65_536, 32))) await once(res, "drain");
        }
        return void res.end();
      case "no token": {
        json(res, 200, { isSuccess: true, data: "", token: "" });
        return;
      }
      case "status 500":
      case "foreign token":
      case "certificate expired":
      case "certificate of a foreign authority":
      case undefined:
    }
    if (path === tokenPath) answerToken(req, res, username, password);
    else if (path === loginPath) answerLogin(req, res, username, password);
    else res.writeHead(404).end();
  }

  /** The contract of the first old server, in Spring Boot. */
  function answerToken(
    { method, headers }: IncomingMessage,
    res: ServerResponse,
    username?: string,
    password?: string,
  ): void {
    const page = (status: number, error: string) => {
      const timestamp = new Date().toISOString().replace("Z", "+00:00");
      json(res, status, { timestamp, status, error, path: tokenPath });
    };
    if (old.fault === "status 500") {
      page(500, "Internal Server Error");
      return;
    }
    if (method !== "POST") {
      res.setHeader("allow", "POST");
      page(405, "Method Not Allowed");
      return;
    }
    const bearer = /^bearer +(.+)$/i.exec(headers.authorization ?? "")?.[1];
    const user = bearer === undefined ? check(username, password) : holderOf(bearer);
    if (user === undefined) return void res.writeHead(403, { "content-length": "0" }).end();
    json(res, 200, { isSuccess: true, token: tokenOf(user) }, "CREATED");
  }

  /** The contract of the second, in ColdFusion. */
  function answerLogin(
    { method }: IncomingMessage,
    res: ServerResponse,
    username?: string,
    password?: string,
  ): void {
    const refuse = (status: number, message: string) =>
      json(res, status, {
        data: "",
        error: true,
        pagination: { totalPages: 1, maxRows: 0, offset: 0, page: 1, totalRecords: 0 },
        messages: [message],
      });
    if (old.fault === "status 500") {
      refuse(500, "Internal Server Error");
      return;
    }
    if (method !== "POST") {
      res.setHeader("allow", "POST");
      refuse(405, "Method Not Allowed");
      return;
    }
    if (!username || !password) {
      refuse(400, "Missing parameter");
      return;
    }
    const user = check(username, password);
    if (user === undefined) {
      refuse(401, "Invalid Authorization");
      return;
    }
    const token = tokenOf(user);
    json(res, 200, {
      message: "Bearer token created and it expires in 120 minutes",
      data: token,
      error: false,
      token_exp: coldFusionDate((decodeJwt(token).exp ?? 0) * 1000),
    });
  }

  function check(username = "", password = ""): Stored | undefined {
    const user = byName.get(nameOf(username));
    if (user === undefined || user.isDisabled) return undefined;
    const { hash } = hashed(password, user.salt);
    return timingSafeEqual(hash, user.hash) ? user : undefined;
  }

  function holderOf(token: string): Stored | undefined {
    const [header = "", claims = "", signature = ""] = token.split(".");
    const expected = sign("sha256", Buffer.from(`${header}.${claims}`), privateKey);
    if (!expected.equals(Buffer.from(signature, "base64url"))) return undefined;
    const { sub, exp = 0 } = decodeJwt(token);
    const user = [...byName.values()].find(({ id }) => id === sub);
    return exp * 1000 > Date.now() + old.aheadMs && user && !user.isDisabled ? user : undefined;
  }

  function tokenOf({ id }: Stored): string {
    const iat = Math.floor((Date.now() + old.aheadMs) / 1000);
    const claims = { sub: id, iss: issuer, exp: iat + lifetimeSeconds, iat };
    const input = [{ typ: "JWT", alg: "RS256" }, claims]
      .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
      .join(".");
    const key = old.fault === "foreign token" ? foreign.privateKey : privateKey;
    return `${input}.${sign("sha256", Buffer.from(input), key).toString("base64url")}`;
  }
}

function makeCertificates() {
  const [authority, stranger] = [makeCertificate("authority"), makeCertificate("authority")];
  const good = makeCertificate("old", authority);
  const bad: Partial<Record<OldFault, Certificate>> = {
    "certificate expired": expired(makeCertificate("old"), authority),
    "certificate of a foreign authority": makeCertificate("old", stranger),
  };
  return { ca: authority.cert, of: (fault: OldFault | undefined) => (fault && bad[fault]) ?? good };
}

function hashed(password: string, salt: Uint8Array = randomBytes(8)) {
  return { salt, hash: scryptSync(password, salt, 16, cheap) };
}

function json(res: ServerResponse, status: number, body: object, reason?: string): void {
  const text = JSON.stringify(body);
  const headers = {
    "Content-Type": "application/json;charset=UTF-8",
    "Content-Length": String(Buffer.byteLength(text)),
  };
  if (reason === undefined) res.writeHead(status, headers);
  else res.writeHead(status, reason, headers);
  res.end(text);
}

function credentialsOf(
  path: string,
  authorization: string | undefined,
  body: string,
): (string | undefined)[] {
  if (path === tokenPath) {
    const basic = /^basic +(\S+)$/i.exec(authorization ?? "")?.[1];
    const pair = Buffer.from(basic ?? "", "base64").toString();
    const colon = pair.indexOf(":");
    return colon === -1 ? [] : [pair.slice(0, colon), pair.slice(colon + 1)];
  }
  try {
    const members = JSON.parse(body) as Record<string, unknown>;
    return ["username", "password"].map((name) => {
      const value = members[name];
      return typeof value === "string" ? value : undefined;
    });
  } catch {
    return [];
  }
}

function coldFusionDate(timeMs: number): string {
  const date = new Date(timeMs);
  const two = (value: number) => String(value).padStart(2, "0");
  const time = [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()].map(two).join(":");
  const month = months.split(" ")[date.getUTCMonth()] ?? "";
  return `${month}, ${two(date.getUTCDate())} ${date.getUTCFullYear()} ${time}`;
}
