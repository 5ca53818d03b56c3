/**
 * A real Latchkey in the process of a test, which controls its clock, keys and outages. Depends on the app and its
 * parts.
 */
import { randomUUID, sign } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createApp, type App } from "../../app/app.js";
import { createManagedKeys, readKeyMaterial } from "../../app/key-material.js";
import { generateRsaKey } from "../../auth/keys/keys.js";
import { hashPassword } from "../../auth/passwords/passwords.js";
import type { Account, User, UserChange } from "../../auth/users.js";
import { parseConfig, type Config } from "../../config/config.js";
import { createLogger, type Logs } from "../../observability/log.js";
import { openStore } from "../../store/open-store.js";
import type { Store } from "../../store/store.js";
import { openDoorway, type Doorway } from "./doorway.js";

export interface TestUser {
  /** Not empty. */
  readonly username: string;
  /** May be any; the server's rules for new passwords do not hold here. */
  readonly password: string;
  /** `_id`: a number must be an integer. Default 1, 2, … */
  readonly id?: number | string;
  /** Default none. */
  readonly roles?: readonly string[];
  /** Default false. */
  readonly disabled?: boolean;
}

export interface StartOptions {
  /** Default none; `addUser` adds more. */
  readonly users?: readonly TestUser[];
  /** The clock that `advance` is added to, in milliseconds since 1970. Default the system's. */
  readonly clock?: { now(): number };
  /** Variables of the configuration, such as `{ TOKEN_TTL: "5m" }`. Default the server's, without throttle. */
  readonly env?: Readonly<Record<string, string>>;
}

/** The parts of a made-up token; absent parts are like in a real one. */
export interface TokenParts {
  /** The user of the token. Default the first one. */
  readonly username?: string | undefined;
  /** Members to replace in the header. Default none. */
  readonly header?: Readonly<Record<string, unknown>>;
  /** Claims to replace; undefined removes one. Default none. */
  readonly claims?: Readonly<Record<string, unknown>>;
  /** Default `real`. `other` is a key that is not published. */
  readonly key?: "real" | "other";
}

export interface TestLatchkey {
  /** The base URL, on a free port of 127.0.0.1. */
  readonly url: string;
  /** `iss` of the tokens. Default the URL, so that discovery is served. */
  readonly issuer: string;
  readonly jwksUrl: string;
  /** Served with `REVOCATIONS=on`, which is the default here. */
  readonly revocationsUrl: string;
  /** Adds a user. @throws Error if the `_id` or the username is taken, TypeError if one is not valid */
  addUser(user: TestUser): Promise<void>;
  /** Sets another password and revokes the user's tokens. Advances the clock by a second. */
  changePassword(username: string, password: string): Promise<void>;
  /** Logs in as the user and resolves with the token. @throws Error if the login fails */
  tokenOf(username: string): Promise<string>;
  /** Tokens that the server has not issued. */
  readonly tokens: {
    /** A token with the given parts. */
    signed(parts?: TokenParts): Promise<string>;
    /** Signed by the real key, expired an hour ago. */
    expired(username?: string): Promise<string>;
    /** Signed by another key under the real `kid`. */
    forged(username?: string): Promise<string>;
    /** Of another issuer, signed by its own key. */
    foreign(username?: string): Promise<string>;
  };
  /** Lets a new key sign at once; the old one is still accepted. Advances the clock by two seconds. */
  rotateKeys(): Promise<void>;
  /** Revokes the signing key, so that its tokens are refused; a new one signs. Advances the clock by two seconds. */
  revokeKey(): Promise<void>;
  /** Revokes every token issued to the user until now. Advances the clock by a second. */
  revoke(username: string): Promise<void>;
  /** Removes a user. */
  remove(username: string): Promise<void>;
  /** Disables a user, or enables him again. */
  disable(username: string, disabled?: boolean): Promise<void>;
  /** While on, connections are ended and new ones refused. */
  outage(isOn: boolean): void;
  /**
   * Advances the server's clock by milliseconds, from 0 on. Its timers still run by the system's.
   *
   * @throws RangeError for another number
   */
  advance(ms: number): void;
  /** The server's time, in milliseconds since 1970. */
  now(): number;
  stop(): Promise<void>;
}

/**
 * Starts a server with an embedded store in a temporary folder.
 *
 * @throws ConfigError if `env` is not valid, TypeError if a user is not
 */
export async function startLatchkey(options: StartOptions = {}): Promise<TestLatchkey> {
  const folder = await mkdtemp(join(tmpdir(), "latchkey-testing-"));
  const doorway = await openDoorway();
  let latchkey: RunningLatchkey | undefined;
  try {
    const url = `http://127.0.0.1:${doorway.port}`;
    const config = parseConfig({
      TOKEN_ISSUER: url,
      THROTTLE_FAILURES: "0",
      REVOCATIONS: "on",
      ...options.env,
      ...{ HOST: "127.0.0.1", PORT: "0", DATA_DIR: folder, SHUTDOWN_GRACE: "1s" },
    });
    latchkey = new RunningLatchkey(url, config, doorway, options);
    await latchkey.start(options.users ?? []);
    return latchkey;
  } catch (error) {
    await (latchkey?.stop() ?? doorway.close());
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Longer than the server uses keys before it reads them again. */
const keysFeltMs = 2000;

const base64url = (bytes: string | Buffer) => Buffer.from(bytes).toString("base64url");

const silentLogs: Logs = {
  logger: createLogger("silent", { write: () => undefined }),
  access: () => undefined,
  audit: () => undefined,
  dropped: () => ({ log: 0, audit: 0 }),
};

class RunningLatchkey implements TestLatchkey {
  readonly url: string;
  readonly issuer: string;
  readonly jwksUrl: string;
  readonly revocationsUrl: string;
  readonly tokens: TestLatchkey["tokens"];
  readonly #config: Config;
  readonly #doorway: Doorway;
  readonly #passwords = new Map<string, string>();
  readonly #clock;
  #offsetMs = 0;
  #users = 0;
  #store: Store | undefined;
  #app: App | undefined;

  constructor(url: string, config: Config, doorway: Doorway, { clock = Date }: StartOptions) {
    this.url = url;
    this.issuer = config.TOKEN_ISSUER;
    this.jwksUrl = `${url}/.well-known/jwks.json`;
    this.revocationsUrl = `${url}/.well-known/revocations`;
    this.#config = config;
    this.#doorway = doorway;
    this.#clock = {
      now: () => clock.now() + this.#offsetMs,
      monotonic: () => performance.now() + this.#offsetMs,
    };
    const foreign = { iss: "https://elsewhere.example" };
    this.tokens = {
      signed: (parts) => this.#sign(parts ?? {}),
      expired: (username) => {
        const iat = Math.floor(this.now() / 1000) - config.TOKEN_TTL - 3600;
        const claims = { iat, auth_time: iat, exp: iat + config.TOKEN_TTL };
        return this.#sign({ username, claims });
      },
      forged: (username) => this.#sign({ username, key: "other" }),
      foreign: (username) =>
        this.#sign({ username, key: "other", header: { kid: "elsewhere" }, claims: foreign }),
    };
  }

  async start(users: readonly TestUser[]): Promise<void> {
    this.#store = await openStore(this.#config, { now: () => this.now() });
    for (const user of users) await this.addUser(user);
    const keyMaterial = await readKeyMaterial(this.#config);
    this.#app = createApp({
      ...{ config: this.#config, store: this.#store, keyMaterial, logs: silentLogs },
      ...{ clock: this.#clock, hasManagementPort: false },
    });
    await this.#app.start();
    this.#doorway.lead(Number(new URL(this.#app.url).port));
  }

  async addUser(user: TestUser): Promise<void> {
    const { username, password, id = ++this.#users, roles = [], disabled = false } = user;
    if (username === "") throw new TypeError("username must not be empty");
    if (typeof id === "number" && !Number.isSafeInteger(id)) {
      throw new TypeError(`${id} is no integer, so it cannot be an id`);
    }
    const type = typeof id === "number" ? "int" : "string";
    const outcome = await this.#opened.users.add({
      ...{ id: { type, value: String(id) }, username, disabled, roles },
      ...{ passwordHash: await hashPassword(password), tokensValidAfter: undefined },
    });
    if (outcome !== "added") throw new Error(`${JSON.stringify(username)}: ${outcome}`);
    this.#passwords.set(username, password);
  }

  async changePassword(username: string, password: string): Promise<void> {
    await this.#change(username, { passwordHash: await hashPassword(password) });
    this.#passwords.set(username, password);
  }

  async tokenOf(username: string): Promise<string> {
    const password = this.#passwords.get(username);
    if (password === undefined) throw new Error(`there is no user ${JSON.stringify(username)}`);
    const response = await fetch(`${this.#app?.url ?? this.url}/auth.v1.AuthService/Login`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ username, password }),
    });
    const { accessToken } = (await response.json()) as { accessToken?: string };
    if (accessToken === undefined) throw new Error(`the login of ${username} is refused`);
    return accessToken;
  }

  async rotateKeys(): Promise<void> {
    await (await this.#keys()).rotateNow();
    this.advance(keysFeltMs);
  }

  async revokeKey(): Promise<void> {
    const keys = await this.#keys();
    await keys.revoke((await keys.signingKey()).kid);
    this.advance(keysFeltMs);
  }

  async revoke(username: string): Promise<void> {
    await this.#change(username, {});
  }

  async disable(username: string, disabled = true): Promise<void> {
    const { id } = await this.#user(username);
    await this.#opened.users.update(id, { disabled });
  }

  async remove(username: string): Promise<void> {
    const { id } = await this.#user(username);
    await this.#opened.users.remove(id);
  }

  outage(isOn: boolean): void {
    this.#doorway.shut(isOn);
  }

  advance(ms: number): void {
    if (!(ms >= 0 && ms < Infinity)) throw new RangeError("ms must be a number from 0 on");
    this.#offsetMs += ms;
  }

  now(): number {
    return this.#clock.now();
  }

  async stop(): Promise<void> {
    await this.#doorway.close();
    await this.#app?.close();
    await this.#store?.close();
    await rm(this.#config.DATA_DIR, { recursive: true, force: true });
  }

  get #opened(): Store {
    if (this.#store === undefined) throw new Error("Latchkey has not been started");
    return this.#store;
  }

  async #change(username: string, change: UserChange): Promise<void> {
    const { id } = await this.#user(username);
    await this.#opened.users.update(id, { ...change, tokensValidAfter: new Date(this.now()) });
    // `iat` counts whole seconds: only a token of the next second is newer than the change.
    this.advance(1000);
  }

  async #user(username: string): Promise<User> {
    const user = await this.#opened.users.findByUsername(username);
    if (user === undefined) throw new Error(`there is no user ${JSON.stringify(username)}`);
    return user;
  }

  /** The keys in the server's store, opened like the command line does. */
  async #keys() {
    const keyMaterial = await readKeyMaterial(this.#config);
    const deps = { config: this.#config, store: this.#opened, keyMaterial };
    const keys = createManagedKeys(deps, this.#clock);
    await keys.refresh();
    return keys;
  }

  async #sign({ username, header, claims, key = "real" }: TokenParts): Promise<string> {
    const account = await this.#account(username);
    const real = await (await this.#keys()).signingKey();
    const { privateKey } = key === "real" ? real : await generateRsaKey(2048);
    const nowSeconds = Math.floor(this.now() / 1000);
    const { TOKEN_TTL, TOKEN_AUDIENCE } = this.#config;
    const all: Record<string, unknown> = {
      ...{ sub: account.id.value, iss: this.issuer, exp: nowSeconds + TOKEN_TTL, iat: nowSeconds },
      ...{ jti: randomUUID(), auth_time: nowSeconds, aud: TOKEN_AUDIENCE },
      ...(account.roles.length > 0 && { roles: account.roles }),
      ...claims,
    };
    const parts = [{ typ: "JWT", alg: "RS256", kid: real.kid, ...header }, all];
    const input = parts.map((part) => base64url(JSON.stringify(part))).join(".");
    const signature = sign("sha256", Buffer.from(input), privateKey);
    return `${input}.${base64url(signature)}`;
  }

  async #account(username: string | undefined): Promise<Account> {
    if (username !== undefined) return this.#user(username);
    for await (const user of this.#opened.users.list()) return user;
    return {
      ...{ id: { type: "int", value: "1" }, username: "nobody", disabled: false, roles: [] },
      tokensValidAfter: undefined,
    };
  }
}
