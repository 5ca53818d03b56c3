/** Latchkey in front of an old server, for tests. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach } from "@jest/globals";
import { hashSync } from "@node-rs/argon2";
import { decodeJwt } from "jose";
import type { Environment } from "../../src/config/config.js";
import { basic, createHttpClient, type HttpClient, type Reply } from "./http.js";
import { startOldServer, type OldServer, type OldUser } from "./old-server.js";
import { eventually } from "./server-process.js";
import { startService, type RunningService } from "./service.js";

export const tokenPath = "/api/auth/token";
export const loginPath = "/api/v1/authentication/login";

export const password = "correct horse";

/** A hash that takes no time, for tests with many users. */
export const cheapHash = (text: string) =>
  hashSync(text, { memoryCost: 8, timeCost: 1, parallelism: 1 });

export interface OldPlace {
  readonly old: OldServer;
  /** Settings of Latchkey for this old server. */
  readonly env: Environment;
  remove(): Promise<void>;
}

interface Takeover extends Omit<OldPlace, "remove"> {
  /** Starts Latchkey in front of the old server, with the clock of the latter. */
  start(...options: Parameters<typeof startService>): Promise<Front>;
  /** A user of the old server whom nobody has heard of before. */
  readonly newUser: () => OldUser;
}

/** Latchkey in front of the old server, and a client of it. */
export interface Front extends RunningService {
  readonly client: HttpClient;
  /** Logs in by Basic, as a new client or the usual one. */
  login(username: string, secret?: string, client?: HttpClient): Promise<Reply>;
  /** Logs in by the other path. */
  loginByJson(username: string, secret?: string): Promise<Reply>;
  renew(token: string): Promise<Reply>;
  /** Resolves once the old server counts as up, so that it refuses an unknown user. */
  untilUp(): Promise<void>;
}

export const tokenIn = ({ body }: Reply) => (JSON.parse(body) as { token: string }).token;

/** Latchkey's tokens have more claims than the old server's. */
export function isIssuedByUs(body: string): boolean {
  const token = /eyJ[\w-]+\.[\w-]+\.[\w-]+/.exec(body)?.[0];
  return token !== undefined && decodeJwt(token).jti !== undefined;
}

type OldOptions = NonNullable<Parameters<typeof startOldServer>[0]>;

export async function startOldPlace(options: OldOptions = {}): Promise<OldPlace> {
  const old = await startOldServer(options);
  const folder = mkdtempSync(join(tmpdir(), "latchkey-old-"));
  const [keyFile, caFile] = [join(folder, "old.pem"), join(folder, "ca.pem")];
  writeFileSync(keyFile, old.publicKeyPem);
  if (old.ca !== undefined) writeFileSync(caFile, old.ca);
  return {
    old,
    env: {
      ...{ UPSTREAM_URL: old.url, TRUSTED_KEYS_FILE: keyFile, UPSTREAM_PATHS: "token,login" },
      ...(old.ca !== undefined && { UPSTREAM_CA_FILE: caFile }),
    },
    async remove() {
      await old.stop();
      rmSync(folder, { recursive: true });
    },
  };
}

/**
 * An old server for the file. After each test it has no fault, and what the test started in front of it is closed;
 * what `beforeAll` started is closed after the last test.
 */
export function useOldServer(options: OldOptions = {}): Takeover {
  let place: OldPlace;
  let fronts: Front[] = [];
  /** Those that the running test has started; undefined between tests. */
  let ofTest: Front[] | undefined;
  let names = 0;
  beforeAll(async () => {
    place = await startOldPlace(options);
  });
  beforeEach(() => {
    ofTest = [];
    (place.old.requests as unknown[]).length = 0;
    Object.assign(place.old.peak, { all: 0, ofOneUser: 0 });
  });
  afterEach(async () => {
    Object.assign(place.old, { fault: undefined, delayMs: 0, extraHeaders: {} });
    for (const front of [...(ofTest ?? [])].reverse()) await front.close();
    ofTest = undefined;
    for (const front of fronts) await front.untilUp();
  });
  afterAll(async () => {
    for (const front of [...fronts].reverse()) await front.close();
    await place.remove();
  });

  return {
    get old() {
      return place.old;
    },
    get env() {
      return place.env;
    },
    async start(env = {}, users = [], deps = {}) {
      const { old } = place;
      const clock = { now: () => Date.now() + old.aheadMs, monotonic: () => performance.now() };
      const service = await startService({ ...place.env, ...env }, users, { clock, ...deps });
      const client = createHttpClient(service.url);
      const login: Front["login"] = (username, secret = password, by = client) =>
        by.call(tokenPath, { headers: { authorization: basic(username, secret) } });
      const front: Front = {
        ...service,
        client,
        login,
        loginByJson: (username, secret = password) =>
          client.call(loginPath, { body: JSON.stringify({ username, password: secret }) }),
        renew: (token) => client.call(tokenPath, { headers: { authorization: `Bearer ${token}` } }),
        async untilUp() {
          await eventually(
            () => login(`nobody ${++names}`, "x"),
            ({ status }) => status === 403,
          );
        },
        async close() {
          if (!fronts.includes(front)) return;
          fronts = fronts.filter((each) => each !== front);
          client.close();
          await service.close();
        },
      };
      fronts.push(front);
      ofTest?.push(front);
      return front;
    },
    newUser() {
      const id = String(1000 + ++names);
      const user = { id, username: `User${id}`, password };
      place.old.addUser(user);
      return user;
    },
  };
}
