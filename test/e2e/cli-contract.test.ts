/** `latchkey contract` against Latchkey, and against a server that is wrong in one thing at a time. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { createCli, type Cli } from "../support/cli.js";
import { createHttpClient, type Reply } from "../support/http.js";
import { startService, type RunningService } from "../support/service.js";

let service: RunningService;
let cli: Cli;
let proxy: Server;
let proxyUrl: string;
let plant: (reply: Mutable, path: string) => void;

interface Mutable {
  status: number;
  headers: Record<string, unknown>;
  body: string;
}

/** Latchkey, but for what is planted. */
beforeAll(async () => {
  service = await startService({ THROTTLE_FAILURES: "0" });
  cli = createCli();
  proxy = createServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on("data", (chunk: Buffer) => chunks.push(chunk));
    req.on("end", () => {
      const client = createHttpClient(service.url);
      const headers = { ...req.headers };
      delete headers.host;
      const { method = "POST", url = "/" } = req;
      const body = Buffer.concat(chunks);
      void client.call(url, { method, headers, body }).then((reply: Reply) => {
        client.close();
        const answer: Mutable = { ...reply, headers: { ...reply.headers } };
        plant(answer, url);
        for (const [name, value] of Object.entries(answer.headers)) {
          if (value !== undefined && name !== "content-length")
            res.setHeader(name, value as string);
        }
        res.setHeader("content-length", Buffer.byteLength(answer.body));
        res.writeHead(answer.status).end(answer.body);
      });
    });
  });
  await new Promise<void>((listening) => proxy.listen(0, "127.0.0.1", listening));
  proxyUrl = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
});
beforeEach(() => {
  plant = () => undefined;
});
afterAll(async () => {
  cli.remove();
  proxy.close();
  await service.close();
});

interface Verdict {
  readonly row: string;
  readonly agrees: boolean;
  readonly differences: readonly { aspect: string; expected: string | null; got: string | null }[];
}

async function contract(...urls: string[]) {
  const args = ["contract", ...urls, "--user", "TestUser", "--password-stdin", "--json"];
  const { code, stdout, stderr } = await cli.run(args, { input: "password\n" });
  const lines = stdout.trim().split("\n").filter(Boolean);
  const verdicts = lines.map((line) => JSON.parse(line) as Verdict);
  return { code, stderr, verdicts, differing: verdicts.filter(({ agrees }) => !agrees) };
}

test("finds no difference against Latchkey, nor between it and itself", async () => {
  const { code, stderr, verdicts, differing } = await contract(service.url);
  expect([differing, stderr, code]).toEqual([[], "", 0]);
  expect(verdicts.length).toBeGreaterThan(45);
  expect(await contract(service.url, `${proxyUrl}/`)).toMatchObject({ code: 0, differing: [] });
});

const onToken = "/api/auth/token";
const onLogin = "/api/v1/authentication/login";
const inBody = (path: string, status: number, from: string | RegExp, to: string) =>
  function (reply: Mutable, at: string) {
    if (at === path && reply.status === status) reply.body = reply.body.replace(from, to);
  };

/** The planted difference, the aspect that it must show in, and a row that must name it. */
const planted: readonly [string, string, string, typeof plant][] = [
  [
    "401 for 403",
    "status",
    "token: no authorization",
    (reply, at) => {
      if (at === onToken && reply.status === 403) reply.status = 401;
    },
  ],
  [
    "a body in a 403",
    "body",
    "token: a wrong password",
    (reply, at) => {
      if (at === onToken && reply.status === 403) reply.body = "{}";
    },
  ],
  [
    "no Allow in a 405",
    "allow",
    "token: GET",
    (reply) => {
      delete reply.headers["allow"];
    },
  ],
  [
    "a content type without its charset",
    "content-type",
    "login: the right pair",
    (reply) => {
      if (reply.status === 200) reply.headers["content-type"] = "application/json";
    },
  ],
  [
    "an answer that may be stored",
    "cache-control",
    "token: Basic",
    (reply) => {
      delete reply.headers["cache-control"];
    },
  ],
  [
    "no request id",
    "x-request-id",
    "login: nothing",
    (reply) => {
      delete reply.headers["x-request-id"];
    },
  ],
  [
    "other capitals in a message",
    "body",
    "login: an unknown user",
    inBody(onLogin, 401, "Invalid Authorization", "Invalid authorization"),
  ],
  [
    "messages as a string",
    "body",
    "login: no password",
    inBody(onLogin, 400, '["Missing parameter"]', '"Missing parameter"'),
  ],
  [
    "members in another order",
    "body",
    "token: Basic",
    inBody(onToken, 200, /^\{("isSuccess":true),(.*)\}$/, "{$2,$1}"),
  ],
  [
    "a day of one digit",
    "body",
    "login: the right pair",
    inBody(onLogin, 200, /, (\d\d) (\d{4})/, ", 1 $2"),
  ],
  [
    "a token_exp of another instant",
    "token_exp",
    "login: the right pair",
    inBody(onLogin, 200, /:(\d\d)"\}/, ':99"}'),
  ],
  [
    "minutes that are not the token's",
    "minutes of the message",
    "login: the right pair",
    inBody(onLogin, 200, "120 minutes", "119 minutes"),
  ],
  [
    "a timestamp without milliseconds",
    "body",
    "token: PUT",
    inBody(onToken, 405, /\.\d{3}\+/, "+"),
  ],
  [
    "a token of another algorithm",
    "token header",
    "token: Bearer",
    (reply) => {
      const header = Buffer.from('{"alg":"HS256","typ":"JWT"}').toString("base64url");
      reply.body = reply.body.replace(/eyJ[\w-]+\./, `${header}.`);
    },
  ],
  [
    "one message for missing and over-long",
    "body",
    "login: a username over 256 characters",
    inBody(onLogin, 400, "Invalid parameter", "Missing parameter"),
  ],
];

describe("names", () => {
  test.each(planted)("%s", async (_, aspect, row, planting) => {
    plant = planting;
    const { code, differing } = await contract(proxyUrl);
    expect(code).toBe(1);
    const found = differing.find((verdict) => verdict.row === row);
    expect(found?.differences.map((difference) => difference.aspect)).toContain(aspect);
    const shown = await cli.run(["contract", proxyUrl]);
    if (!/right pair|Basic|Bearer|wrong password/.test(row)) {
      expect(shown.stdout).toContain(`DIFFERS  ${row}`);
    }
  });

  test("where two servers differ, and only that", async () => {
    plant = inBody(onLogin, 401, "Invalid Authorization", "No");
    const { code, differing } = await contract(service.url, proxyUrl);
    expect(code).toBe(1);
    expect(new Set(differing.map(({ row }) => row))).toEqual(
      new Set(["login: an unknown user", "login: a wrong password"]),
    );
  });

  test("wrong usage, and a server that is not there", async () => {
    const run = async (...args: string[]) => (await cli.run(["contract", ...args])).code;
    expect(await run("ftp://x")).toBe(2);
    expect(await run(service.url, "--user", "TestUser")).toBe(2);
    const away = await cli.run(["contract", "http://127.0.0.1:1"]);
    expect([away.code, away.stderr]).toEqual([1, expect.stringContaining("does not answer")]);
  });
});
