/** The token source and the verifier of the package, held to the table of clients/cases.json. */
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { Agent, fetch as undiciFetch } from "undici";
import {
  createTokenSource,
  TokenSourceError,
  type TokenSource,
} from "../../src/kit/client/client.js";
import { createVerifier, TokenRefused, type Verifier } from "../../src/kit/verify/verify.js";
import { MovedClock } from "../support/kit-clock.js";
import { KitHarness, type CaseStart } from "../support/kit-harness.js";

type Step = Readonly<Record<string, unknown>>;
interface Case {
  readonly id: string;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly steps: readonly Step[];
}
const table = JSON.parse(
  readFileSync(new URL("../../clients/cases.json", import.meta.url), "utf8"),
) as { clients: Case[]; verifiers: Case[] };

interface Demanded {
  readonly scheme?: string;
  readonly authorization?: string;
  readonly roles?: readonly string[];
  readonly answers: string;
}

let harness: KitHarness;
beforeAll(async () => {
  harness = await KitHarness.start();
});
afterAll(() => harness.stop());

async function command<T>(name: string, value?: unknown): Promise<T> {
  const body = value === undefined ? "" : JSON.stringify(value);
  const response = await fetch(`${harness.controlUrl}/${name}`, { method: "POST", body });
  if (!response.ok) throw new Error(await response.text());
  return (await response.json()) as T;
}

const waitMs = 30_000;
/** What was begun may fail yet, and then waits for the clock. */
const finishTurnMs = 500;
const finishTurns = 60;

/** Waits for the counts, which requests under way may yet reach; more than these are a failure. */
async function expectCounts(wanted: Readonly<Record<string, number>>): Promise<void> {
  const names = Object.keys(wanted);
  const pick = (all: Record<string, number>) =>
    Object.fromEntries(names.map((name) => [name, all[name]]));
  await command("settle");
  let counts = pick(await command("counts"));
  const deadline = performance.now() + waitMs;
  while (performance.now() < deadline && names.some((n) => (counts[n] ?? 0) < (wanted[n] ?? 0))) {
    await command("settle");
    counts = pick(await command("counts"));
  }
  expect(counts).toEqual(wanted);
  await command("clear");
}

/** Does the steps that move the server; false for any other. */
async function moveServer(name: string, value: unknown, clock: MovedClock): Promise<boolean> {
  if (name === "advance") {
    await command("advance", value);
    clock.advance((value as number) * 1000);
    await command("settle");
  } else if (name === "skew") clock.advance((value as number) * 1000);
  else if (name === "calls" || name === "reads") await expectCounts(value as never);
  else if (["server", "fault", "user", "keys"].includes(name)) {
    const before = (await command<{ nowMs: number }>("advance", 0)).nowMs;
    await command(name, value);
    // Some of them let time pass on the server.
    clock.advance((await command<{ nowMs: number }>("advance", 0)).nowMs - before);
  } else return false;
  return true;
}

class ClientRun {
  readonly #start: CaseStart;
  readonly #clock: MovedClock;
  readonly #source: TokenSource;
  #password: string;
  #last = "";
  readonly #begun: Promise<void>[] = [];
  readonly #agent: Agent;

  constructor(start: CaseStart, options: Case["options"]) {
    this.#start = start;
    this.#clock = new MovedClock(start.nowMs);
    this.#password = start.password;
    const { http2, ...own } = options ?? {};
    this.#agent = new Agent({ allowH2: true, connect: { ca: start.certificate } });
    const overHttp2 = {
      baseUrl: start.http2Url,
      fetch: ((url: string, init: object) =>
        undiciFetch(url, { ...init, dispatcher: this.#agent })) as unknown as typeof fetch,
    };
    this.#source = createTokenSource({
      baseUrl: start.baseUrl,
      credentials: () => ({ username: start.username, password: this.#password }),
      clock: this.#clock,
      random: () => 0.5,
      ...own,
      ...(http2 === true && overHttp2),
    });
  }

  async do(name: string, value: unknown): Promise<void> {
    if (await moveServer(name, value, this.#clock)) return;
    const step = this.#steps[name];
    if (step === undefined) throw new Error(`no such step: ${name}`);
    await step(value as never);
  }

  async close(): Promise<void> {
    await this.#source.close();
    await this.#agent.destroy();
  }

  readonly #steps: Readonly<Record<string, (value: never) => unknown>> = {
    token: (wanted: string | { error: string }) => this.#ask(wanted),
    tokens: async (count: number) => {
      const all = await Promise.all(Array.from({ length: count }, () => this.#source.token()));
      expect(new Set(all).size).toBe(1);
      this.#last = all[0] ?? "";
    },
    begin: (wanted: string | { error: string }) => void this.#begun.push(this.#ask(wanted)),
    finish: async () => {
      const ended = Promise.all(this.#begun).then(() => true);
      for (let turn = 0; turn < finishTurns; turn++) {
        if (await Promise.race([ended, sleep(finishTurnMs)])) break;
        await moveServer("advance", 1, this.#clock);
      }
      await ended;
    },
    cancel: async () => {
      const reason = new Error("cancelled");
      const asked = this.#source.token({ signal: AbortSignal.abort(reason) });
      await expect(asked).rejects.toBe(reason);
      const controller = new AbortController();
      const later = this.#source.token({ signal: controller.signal });
      controller.abort(reason);
      await expect(later).rejects.toBe(reason);
    },
    replace: async (wanted: "other" | "none") => {
      const other = await this.#source.replace(this.#last);
      if (wanted === "none") expect(other).toBeUndefined();
      else {
        expect(other).toBeDefined();
        expect(other).not.toBe(this.#last);
        this.#last = other ?? "";
      }
    },
    retry: () => this.#source.retry(),
    credentials: (which: "right" | "wrong" | "new") => {
      const { password, newPassword } = this.#start;
      this.#password = { right: password, wrong: "a wrong one", new: newPassword }[which];
    },
    close: () => this.#source.close(),
    deadline: async (most: number) => {
      const { ms } = await command<{ ms: number }>("deadline");
      expect(ms).toBeGreaterThan(0);
      expect(ms).toBeLessThanOrEqual(most);
    },
  };

  async #ask(wanted: string | { error: string }): Promise<void> {
    if (typeof wanted === "object") {
      const error: unknown = await this.#source.token().catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(TokenSourceError);
      expect((error as TokenSourceError).code).toBe(wanted.error);
      return;
    }
    let token = await this.#source.token();
    const deadline = performance.now() + waitMs;
    while (wanted === "other" && token === this.#last && performance.now() < deadline) {
      await command("settle");
      token = await this.#source.token();
    }
    if (wanted === "same") expect(token).toBe(this.#last);
    if (wanted === "other") expect(token).not.toBe(this.#last);
    this.#last = token;
  }
}

class VerifierRun {
  readonly #clock: MovedClock;
  readonly #verifier: Verifier;
  #token = "";

  constructor(start: CaseStart, options: Case["options"]) {
    const { issuer, jwksUrl, revocationsUrl, nowMs } = start;
    const { revocations, ...own } = options ?? {};
    this.#clock = new MovedClock(nowMs);
    this.#verifier = createVerifier({
      ...{ issuer, jwksUrl, now: () => this.#clock.now() },
      ...own,
      ...(revocations === true && { revocationsUrl }),
    });
  }

  async do(name: string, value: unknown): Promise<void> {
    if (await moveServer(name, value, this.#clock)) return;
    if (name === "issue" || name === "mint") {
      this.#token = (await command<{ token: string }>(name, value)).token;
    } else if (name === "raw") this.#token = value as string;
    else if (name === "verify") expect(await this.#verdict(this.#token)).toBe(value);
    else if (name === "tokenAsList") {
      const answer = { status: 200, headers: { "content-type": "application/jwt" } };
      await command("fault", { on: "revocations", ...answer, body: this.#token });
    } else if (name === "flood") await this.#flood(value as number);
    else if (name === "demand") await this.#demand(value as Demanded);
    else throw new Error(`no such step: ${name}`);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async #demand({ scheme = "Bearer ", authorization, roles, answers }: Demanded): Promise<void> {
    const demand = this.#verifier.middleware(roles && { roles });
    const server = createServer((request, response) => {
      void demand(request, response, () => response.end());
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const sent = authorization ?? scheme + this.#token;
      const { status, headers } = await fetch(
        url,
        sent === "" ? {} : { headers: { authorization: sent } },
      );
      const detail = headers.get("www-authenticate") ?? headers.get("retry-after") ?? "";
      expect(`${status} ${detail}`.trim()).toBe(answers);
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  async #flood(count: number): Promise<void> {
    const [, claims = "", signature = ""] = this.#token.split(".");
    const verdicts = await Promise.all(
      Array.from({ length: count }, (_, index) => {
        const header = JSON.stringify({ alg: "RS256", kid: `nobody ${index}` });
        const encoded = Buffer.from(header).toString("base64url");
        return this.#verdict(`${encoded}.${claims}.${signature}`);
      }),
    );
    expect(new Set(verdicts)).toEqual(new Set(["unknown_key"]));
  }

  async #verdict(token: string): Promise<string> {
    try {
      await this.#verifier.verify(token);
      return "ok";
    } catch (error) {
      expect(error).toBeInstanceOf(TokenRefused);
      return (error as TokenRefused).code;
    }
  }
}

const kinds = [
  ["clients", table.clients, ClientRun],
  ["verifiers", table.verifiers, VerifierRun],
] as const;

describe.each(kinds)("%s", (_, cases, Run) => {
  test.each(cases.map((row) => [row.id, row] as const))("%s", async (_id, { options, steps }) => {
    const run = new Run(await command<CaseStart>("case"), options);
    try {
      for (const step of steps) {
        for (const [name, value] of Object.entries(step)) {
          await run.do(name, value).catch((error: unknown) => {
            throw new Error(`at ${JSON.stringify(step)}: ${String(error)}`, { cause: error });
          });
        }
      }
    } finally {
      await run.close();
    }
  });
});
