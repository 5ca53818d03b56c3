/**
 * Runs the cases of clients/cases.json: a real Latchkey behind a proxy that counts requests and
 * plays faults. It takes commands over HTTP, so that clients in any language can be tested with the
 * cases.
 */
import { SignJWT } from "jose";
import { createPublicKey, type JsonWebKey } from "node:crypto";
import { createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import {
  constants,
  createSecureServer,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from "node:http2";
import type { AddressInfo, Server } from "node:net";
import { text as readText } from "node:stream/consumers";
import { startLatchkey, type TestLatchkey } from "../../src/kit/testing/testing.js";
import { makeCertificate } from "./certificates.js";

export interface Fault {
  readonly on: "rpc" | "keys" | "revocations";
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly hang?: true;
  readonly reset?: true;
  /**
   * Over HTTP/2: drains the connection, and still answers the request or refuses it as not
   * processed.
   */
  readonly goaway?: "answered" | "refused";
  readonly times?: number;
  /** Passes the real answer on, with this `cache-control`. */
  readonly cacheControl?: string;
}

/** What a client gets at the start of a case. */
export interface CaseStart {
  readonly baseUrl: string;
  /** The same server over TLS with HTTP/2 only. */
  readonly http2Url: string;
  /** The certificate that a client has to trust for it, in PEM. */
  readonly certificate: string;
  readonly jwksUrl: string;
  readonly revocationsUrl: string;
  readonly issuer: string;
  readonly username: string;
  readonly password: string;
  /** The password after the command `{"user": "password"}`. */
  readonly newPassword: string;
  /** The server's time, in milliseconds since the epoch. */
  readonly nowMs: number;
}

type UserChange = "revoke" | "disable" | "enable" | "password" | "remove";
type Count = "logins" | "renewals" | "keys" | "revocations" | "goaways";
const noCounts = { logins: 0, renewals: 0, keys: 0, revocations: 0, goaways: 0 };

export class KitHarness {
  readonly #latchkey: TestLatchkey;
  readonly #proxy = createServer((asked, answer) => this.#pass(asked, answer));
  readonly #certificate = makeCertificate("localhost");
  // Its messages have the members of node:http's that are used here; none of these is missing in
  // HTTP/2.
  readonly #http2Proxy = createSecureServer(this.#certificate, (asked, answer) => {
    this.#pass(asked as unknown as IncomingMessage, answer as unknown as ServerResponse);
  });
  readonly #http2Sessions = new Set<ServerHttp2Session>();
  readonly #control = createServer((asked, answer) => void this.#obey(asked, answer));
  #counts: Record<Count, number> = { ...noCounts };
  #fault: Fault | undefined;
  #faultsLeft = 0;
  #isAway = false;
  #busy = 0;
  #hanging = new Set<ServerResponse>();
  #deadlineMs: number | undefined;
  #users = 0;
  #username = "";

  private constructor(latchkey: TestLatchkey) {
    this.#latchkey = latchkey;
  }

  static async start(): Promise<KitHarness> {
    const startMs = Date.now();
    // Stands still, as the clients' clocks do.
    const clock = { now: () => startMs };
    const harness = new KitHarness(await startLatchkey({ clock }));
    harness.#http2Proxy.on("session", (session) => {
      harness.#http2Sessions.add(session);
      session.once("close", () => harness.#http2Sessions.delete(session));
    });
    for (const server of [harness.#proxy, harness.#control, harness.#http2Proxy]) {
      if ("keepAliveTimeout" in server) server.keepAliveTimeout = 0;
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    }
    return harness;
  }

  /** Takes commands: `POST /NAME` with their JSON. */
  get controlUrl(): string {
    return urlOf(this.#control);
  }

  async stop(): Promise<void> {
    for (const session of this.#http2Sessions) session.destroy();
    await new Promise((resolve) => this.#http2Proxy.close(resolve));
    for (const server of [this.#proxy, this.#control]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
    await this.#latchkey.stop();
  }

  readonly #commands: Readonly<Record<string, (value: never) => unknown>> = {
    case: () => this.#begin(),
    advance: (seconds: number) => {
      this.#latchkey.advance(seconds * 1000);
      return { nowMs: this.#latchkey.now() };
    },
    settle: () => this.#settle(),
    counts: () => {
      const counts = this.#counts;
      return counts;
    },
    clear: () => this.#clear(),
    deadline: () => ({ ms: this.#deadlineMs ?? null }),
    server: async (what: "away" | "back" | "drain") => {
      if (what === "drain") {
        await Promise.all([...this.#http2Sessions].map(drained));
        return;
      }
      this.#isAway = what === "away";
      if (what === "back") this.#endFault();
      if (what === "away") this.#proxy.closeAllConnections();
    },
    fault: (fault: Fault) => {
      this.#fault = fault;
      this.#faultsLeft = fault.times ?? Infinity;
    },
    user: (what: UserChange) => this.#changeUser(what),
    keys: (what: "rotate" | "revoke") =>
      what === "rotate" ? this.#latchkey.rotateKeys() : this.#latchkey.revokeKey(),
    issue: async () => ({ token: await this.#latchkey.tokenOf(this.#username) }),
    mint: async (parts: MintParts) => ({ token: await this.#mint(parts) }),
  };

  async #begin(): Promise<CaseStart> {
    this.#isAway = false;
    this.#endFault();
    this.#username = `user ${++this.#users}`;
    const password = `password of ${this.#username}`;
    await this.#latchkey.addUser({ username: this.#username, password });
    this.#clear();
    return {
      ...{ baseUrl: urlOf(this.#proxy), issuer: this.#latchkey.issuer },
      http2Url: `https://localhost:${new URL(urlOf(this.#http2Proxy)).port}`,
      certificate: this.#certificate.cert,
      jwksUrl: `${urlOf(this.#proxy)}/.well-known/jwks.json`,
      revocationsUrl: `${urlOf(this.#proxy)}/.well-known/revocations`,
      ...{ username: this.#username, password, newPassword: `another ${password}` },
      nowMs: this.#latchkey.now(),
    };
  }

  #clear(): void {
    this.#counts = { ...noCounts };
  }

  #endFault(): void {
    this.#fault = undefined;
    this.#hanging.forEach((answer) => answer.destroy());
    this.#hanging.clear();
  }

  async #changeUser(what: UserChange): Promise<unknown> {
    const name = this.#username;
    if (what === "revoke") await this.#latchkey.revoke(name);
    else if (what === "remove") await this.#latchkey.remove(name);
    else if (what === "password") {
      await this.#latchkey.changePassword(name, `another password of ${name}`);
    } else await this.#latchkey.disable(name, what === "disable");
    return { nowMs: this.#latchkey.now() };
  }

  /** Waits until no request is under way and none has come for a moment. */
  async #settle(): Promise<void> {
    let quiet = 0;
    while (quiet < 3) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      quiet = this.#busy === 0 ? quiet + 1 : 0;
    }
  }

  async #mint({ header = {}, claims = {}, key = "real" }: MintParts): Promise<string> {
    const seconds = Math.floor(this.#latchkey.now() / 1000);
    const valueOf = (value: unknown) => {
      if (typeof value !== "string") return value ?? undefined;
      if (/^[+-]\d+$/.test(value)) return seconds + Number(value);
      return value.startsWith("#") ? "x".repeat(Number(value.slice(1))) : value;
    };
    const parts = {
      username: this.#username,
      header: mapped(header, (value) => value ?? undefined),
      claims: mapped(claims, valueOf),
    };
    if (key !== "public") return this.#latchkey.tokens.signed({ ...parts, key });
    const response = await fetch(this.#latchkey.jwksUrl);
    const { keys } = (await response.json()) as { keys: (JsonWebKey & { kid: string })[] };
    const [jwk] = keys;
    if (jwk === undefined) throw new Error("no key is published");
    const secret = createPublicKey({ key: jwk, format: "jwk" });
    return new SignJWT({ sub: "1", iss: this.#latchkey.issuer })
      .setProtectedHeader({ alg: "HS256", kid: jwk.kid })
      .sign(Buffer.from(secret.export({ type: "spki", format: "pem" })));
  }

  async #obey(asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    try {
      const name = (asked.url ?? "").slice(1);
      const text = await readText(asked);
      const command = this.#commands[name] as ((value: unknown) => unknown) | undefined;
      if (command === undefined) throw new Error(`no such command: ${name}`);
      const result = await command(text === "" ? undefined : JSON.parse(text));
      answer.end(JSON.stringify(result ?? {}));
    } catch (error) {
      answer.statusCode = 500;
      answer.end(String(error));
    }
  }

  #pass(asked: IncomingMessage, answer: ServerResponse): void {
    const kind = kindOf(asked.url ?? "");
    if (this.#isAway) {
      asked.socket.resetAndDestroy();
      return;
    }
    if (kind) this.#counts[kind]++;
    const timeout = asked.headers["connect-timeout-ms"];
    if (timeout !== undefined) this.#deadlineMs = Number(timeout);
    const fault = this.#fault;
    const on = kind === "logins" || kind === "renewals" ? "rpc" : kind;
    if (fault?.on === on && fault?.cacheControl === undefined && this.#faultsLeft > 0) {
      this.#faultsLeft--;
      this.#play(fault as Fault, asked, answer);
      return;
    }
    this.#forward(asked, answer, fault?.on === on ? fault?.cacheControl : undefined);
  }

  #play(fault: Fault, asked: IncomingMessage, answer: ServerResponse): void {
    if (fault.hang) this.#hanging.add(answer);
    else if (fault.reset) asked.socket.resetAndDestroy();
    else if (fault.goaway) this.#goAway(fault.goaway, asked, answer);
    else answer.writeHead(fault.status ?? 200, fault.headers).end(fault.body);
  }

  #goAway(how: "answered" | "refused", asked: IncomingMessage, answer: ServerResponse): void {
    const { stream } = answer as unknown as Http2ServerResponse;
    this.#counts.goaways++;
    if (how === "refused") stream.close(constants.NGHTTP2_REFUSED_STREAM);
    stream.session?.close();
    if (how === "answered") this.#forward(asked, answer, undefined);
  }

  #forward(asked: IncomingMessage, answer: ServerResponse, cacheControl: string | undefined) {
    this.#busy++;
    answer.once("close", () => this.#busy--);
    const { method, url } = asked;
    const headers = Object.fromEntries(
      Object.entries(asked.headers).filter(([name]) => !name.startsWith(":")),
    );
    const target = new URL(url ?? "/", this.#latchkey.url);
    const onward = request(target, { method, headers, agent: false }, (response) => {
      const own = { ...response.headers };
      // HTTP/2 has no such headers (RFC 9113 section 8.2.2).
      delete own["connection"];
      delete own["keep-alive"];
      delete own["transfer-encoding"];
      if (cacheControl === "") delete own["cache-control"];
      else if (cacheControl !== undefined) own["cache-control"] = cacheControl;
      answer.writeHead(response.statusCode ?? 502, own);
      response.pipe(answer);
    });
    onward.once("error", () => answer.destroy());
    asked.pipe(onward);
  }
}

interface MintParts {
  readonly header?: Readonly<Record<string, unknown>>;
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly key?: "real" | "other" | "public";
}

const mapped = (table: Readonly<Record<string, unknown>>, map: (value: unknown) => unknown) =>
  Object.fromEntries(Object.entries(table).map(([name, value]) => [name, map(value)]));

function kindOf(path: string): Count | undefined {
  if (path.endsWith("/Login")) return "logins";
  if (path.endsWith("/IssueToken")) return "renewals";
  if (path.endsWith("/jwks.json")) return "keys";
  return path.endsWith("/revocations") ? "revocations" : undefined;
}

/** Drains a session with a GOAWAY. Ends its connection if the client ignores that. */
async function drained(session: ServerHttp2Session): Promise<void> {
  const ended = new Promise<void>((resolve) => session.close(resolve));
  await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, drainMs))]);
  session.destroy();
}
const drainMs = 500;

const urlOf = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
