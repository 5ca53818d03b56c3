/**
 * Measures how long common verifiers take to notice a new, a retired and a revoked key, and that the key set cannot be
 * read. Runs a real Latchkey and real libraries, each in its language, on a clock that the measurement advances.
 *
 *   npm run measure:verifiers               prints a table for docs/verifiers.md; takes minutes
 *   npm run measure:verifiers -- check      checks that each accepts a token and refuses a foreign one; takes seconds
 *   npm run measure:verifiers -- NAME…      only these libraries or languages
 */
import { sign } from "node:crypto";
import { createServer } from "node:http";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createApp } from "../../dist/src/app/app.js";
import { createManagedKeys, readKeyMaterial } from "../../dist/src/app/key-material.js";
import { parseConfig } from "../../dist/src/config/config.js";
import { openStore } from "../../dist/src/store/open-store.js";
import { languages } from "./languages.js";

const day = 86_400;
const patienceSeconds = 8 * day;

/** A clock for Latchkey and the verifier, which the measurement advances. */
function createClock() {
  let offsetMs = 0;
  return {
    now: () => Date.now() + offsetMs,
    monotonic: () => performance.now() + offsetMs,
    get seconds() {
      return offsetMs / 1000;
    },
    advance: (seconds) => void (offsetMs += seconds * 1000),
  };
}

const silent = () => undefined;
const logger = {
  level: "silent",
  ...Object.fromEntries(["info", "warn", "error", "debug"].map((l) => [l, silent])),
};
const logs = { logger, access: silent, audit: silent, dropped: () => ({ log: 0, audit: 0 }) };

/** The issuer of the first old server. It is not a URL, so there is no discovery. */
const plainIssuer = "NomicGameManager.Api";

/** Latchkey behind an address that can be shut, with keys that change like by the command line. */
async function startLatchkey(clock, env = {}) {
  const dir = mkdtempSync(join(tmpdir(), "latchkey-verifiers-"));
  let app;
  let isDown = false;
  let changeCaching = (value) => value;
  const front = createServer(async (request, response) => {
    if (isDown || app === undefined) return void request.socket.destroy();
    const { status, headers, ...answer } = await fetch(app.url + request.url).then(
      async (reply) => ({
        status: reply.status,
        headers: reply.headers,
        body: Buffer.from(await reply.arrayBuffer()),
      }),
    );
    const kept = ["content-type", "cache-control", "etag"].filter((name) => headers.has(name));
    const fields = Object.fromEntries(kept.map((name) => [name, headers.get(name)]));
    if (headers.has("cache-control")) {
      fields["cache-control"] = changeCaching(fields["cache-control"]);
    }
    response.writeHead(status, fields);
    response.end(answer.body);
  });
  await new Promise((listening) => front.listen(0, "127.0.0.1", listening));
  const url = `http://127.0.0.1:${front.address().port}`;
  const config = parseConfig({
    ...{ PORT: "0", MANAGEMENT_PORT: "0", DATA_DIR: dir, TOKEN_ISSUER: url },
    ...{ TOKEN_AUDIENCE: "api", TOKEN_TTL: "365d", TOKEN_MAX_SESSION: "400d", ...env },
  });
  const store = await openStore(config);
  const { hashPassword } = await import("../../dist/src/auth/passwords/passwords.js");
  const account = { id: { type: "int", value: "1" }, username: "ann", disabled: false, roles: [] };
  await store.users.add({ ...account, passwordHash: await hashPassword("password") });
  const keyMaterial = await readKeyMaterial(config);
  app = createApp({ config, store, keyMaterial, logs, clock });
  await app.start();
  const keys = createManagedKeys({ config, store, keyMaterial }, clock);
  // The next key is published at the start, before the clock advances.
  while (keys.status().keys.published === 0) await keys.refresh();
  const authorization = `Basic ${Buffer.from("ann:password").toString("base64")}`;
  return {
    issuer: config.TOKEN_ISSUER,
    jwksUrl: `${url}/.well-known/jwks.json`,
    keys,
    down: (value) => void (isDown = value),
    changeCaching: (change) => void (changeCaching = change),
    /** The published key ids. */
    async kids() {
      const { keys } = await (await fetch(`${app.url}/.well-known/jwks.json`)).json();
      return keys.map(({ kid }) => kid);
    },
    async token() {
      const reply = await fetch(`${app.url}/api/auth/token`, {
        method: "POST",
        headers: { authorization },
      });
      return (await reply.json()).token;
    },
    async stop() {
      front.close();
      front.closeAllConnections();
      await app.close();
      await store.close();
      rmSync(dir, { recursive: true });
    },
  };
}

const partOf = (token, index) => JSON.parse(Buffer.from(token.split(".")[index], "base64url"));
const kidOf = (token) => partOf(token, 0).kid;

/** The token, signed again by its key so that it lasts a year: what somebody makes who has a copy of the key. */
async function prolonged(token, keys) {
  const { privateKey } = await keys.signingKey();
  const claims = { ...partOf(token, 1), exp: partOf(token, 1).iat + 365 * day };
  const input = `${token.split(".")[0]}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}`;
  return `${input}.${sign("sha256", Buffer.from(input), privateKey).toString("base64url")}`;
}

/** The time until the next check: some 2 per cent of the time that has passed. */
function stepAfter(seconds) {
  if (seconds < 60) return 1;
  if (seconds < 1200) return 5;
  if (seconds < 7200) return 30;
  return seconds < 26 * 3600 ? 300 : 3600;
}

/**
 * Runs a scenario with a fresh Latchkey and a fresh verifier that has just read the key set.
 *
 * @param begin makes the first token, and the state in which the verifier reads the key set
 */
async function withVerifier(language, name, scenario, env = {}, begin = undefined) {
  const clock = createClock();
  const latchkey = await startLatchkey(clock, { ...language.env?.(name), ...env });
  const verifier = await language.start(name, latchkey);
  const pass = async (seconds) => {
    clock.advance(seconds);
    await verifier.pass(seconds, clock.seconds);
  };
  try {
    const first = (await begin?.({ latchkey, pass, clock })) ?? (await latchkey.token());
    const answer = await verifier.verify(first);
    if (answer !== "ok") throw new Error(`${name}: ${answer}`);
    return await scenario({ latchkey, verifier, first, pass, clock });
  } finally {
    verifier.stop();
    await latchkey.stop();
  }
}

/** The seconds until the verifier gives the wanted verdict; undefined if it never does. */
async function secondsUntil({ verifier, pass }, token, isAccepted) {
  for (let seconds = 0; seconds <= patienceSeconds;) {
    if (((await verifier.verify(token)) === "ok") === isAccepted) return seconds;
    const step = stepAfter(seconds);
    await pass(step);
    seconds += step;
  }
  return undefined;
}

const scenarios = {
  /** A key signs that no verifier has seen. */
  async newKey(run) {
    await run.latchkey.keys.rotateNow();
    await run.latchkey.keys.rotateNow();
    await run.pass(2);
    const token = await run.latchkey.token();
    if (kidOf(token) === kidOf(run.first)) throw new Error("the keys were not rotated");
    return secondsUntil(run, token, true);
  },
  /** The key of the first token is revoked; the next one, which has been published for long, signs. */
  async revoked(run) {
    await run.latchkey.keys.revoke(kidOf(run.first));
    return secondsUntil(run, run.first, false);
  },
  /** A retired key has left the set, a few seconds after the verifier has read it. */
  async retired(run) {
    while ((await run.latchkey.kids()).includes(kidOf(run.first))) {
      await run.pass(1);
      await run.latchkey.keys.refresh();
    }
    return secondsUntil(run, run.first, false);
  },
  /** The key set cannot be read. */
  async outage(run) {
    run.latchkey.down(true);
    return secondsUntil(run, run.first, false);
  },
  /** As above, and the key set has been served without `stale-if-error`. */
  async outageAtOnce(run) {
    return scenarios.outage(run);
  },
  /** Two planned rotations, a month apart: then a key signs that did not exist when the verifier started. */
  async rotation(run) {
    let token = run.first;
    for (let month = 0; month < 2; month++) {
      const kid = kidOf(token);
      for (let hours = 0; hours < 30 * 24; hours += 6) {
        await run.pass(6 * 3600);
        await run.verifier.verify(token);
      }
      // A server rotates only after it has been in contact with its store for a while.
      for (let look = 0; look < 40 && kidOf(token) === kid; look++) {
        await run.pass(3);
        await run.latchkey.keys.refresh();
        token = await run.latchkey.token();
      }
      if (kidOf(token) === kid) throw new Error("no rotation");
    }
    return secondsUntil(run, token, true);
  },
};

const beginnings = {
  async retired({ latchkey, pass, clock }) {
    const token = await prolonged(await latchkey.token(), latchkey.keys);
    await latchkey.keys.rotateNow();
    const { next } = latchkey.keys.known().find(({ kid }) => kid === kidOf(token));
    // The verifier needs no more than a second to start, because this waits for its answers.
    await pass(Math.max(0, (next.at.getTime() - clock.now()) / 1000 - 5));
    return token;
  },
  outageAtOnce({ latchkey }) {
    latchkey.changeCaching((value) => value.replace(/, stale-if-error=\d+/, ""));
  },
};
const environments = { retired: { TOKEN_TTL: "5m" } };

/** Formats seconds for people. */
function spoken(seconds) {
  if (seconds === undefined) return "not within 8 days";
  if (seconds === 0) return "at once";
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 2 * 3600) return `${Math.round(seconds / 60)} min`;
  return seconds < 2 * day ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / day)} d`;
}

/** Checks that a verifier accepts our token and refuses a foreign one. Uses the issuer without URL if it can. */
async function check(language, name, strangers) {
  const row = { language: language.name, library: name };
  const env = /, (discovery|metadata)/.test(name) ? {} : { TOKEN_ISSUER: plainIssuer };
  try {
    const foreign = await strangers[language.env?.(name).TOKEN_TYPE ?? "JWT"].token();
    row.foreign = await withVerifier(
      language,
      name,
      ({ verifier }) => verifier.verify(foreign),
      env,
    );
  } catch (error) {
    row.error = error.message;
  }
  console.log(JSON.stringify(row));
}

async function measure(language, name) {
  const row = { language: language.name, library: name };
  for (const [title, scenario] of Object.entries(scenarios)) {
    const options = [environments[title], beginnings[title]];
    row[title] = spoken(await withVerifier(language, name, scenario, ...options));
  }
  const { outageAtOnce, ...times } = row;
  console.log(
    JSON.stringify({ ...times, staleIfError: row.outage === outageAtOnce ? "no" : "yes" }),
  );
}

/** Leaves out variants that only find the keys in another way. */
function isMeasured(name, { libraries, unmeasured }) {
  if (name.endsWith(", metadata") || unmeasured?.test(name)) return false;
  return !(name.endsWith(", discovery") && libraries.includes(name.replace(", discovery", "")));
}

const [first, ...others] = process.argv.slice(2);
const isCheck = first === "check";
const wanted = isCheck ? others : process.argv.slice(2);
/** Groups by the type of tokens, because a foreign token must not be refused for its type. */
const strangers = {};
for (const type of isCheck ? ["JWT", "at+jwt"] : []) {
  strangers[type] = await startLatchkey(createClock(), { TOKEN_TYPE: type });
}
for (const language of languages) {
  const isWanted = (name) =>
    wanted.length === 0 || wanted.includes(language.name) || wanted.includes(name);
  const names = language.libraries.filter(isWanted);
  if (names.length > 0) language.prepare();
  for (const name of names) {
    if (isCheck) await check(language, name, strangers);
    else if (isMeasured(name, language)) await measure(language, name);
  }
}
for (const stranger of Object.values(strangers)) await stranger.stop();
process.exit();
