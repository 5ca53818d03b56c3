/** The API page in a real browser: every form and every element of it, as people with and without a mouse use it. */
import { spawn } from "node:child_process";
import { generateKeyPairSync, sign } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { Browser, Locator, Page } from "playwright-core";
import { hashPassword } from "../../src/auth/passwords/passwords.js";
import { describeWith, rootDir, run } from "../support/toolchain.js";
import {
  chromiumPath,
  openPage,
  seriousFindings,
  startBrowser,
  type WatchedPage,
} from "../support/browser.js";
import { createHttpClient } from "../support/http.js";
import { eventually } from "../support/server-process.js";
import { startService, testUser, type RunningService } from "../support/service.js";

const demoUser = { username: "TestUser", password: "password" };
const awkwardPassword = `it's "$PATH" \\ \`id\` pässwörd!`;
const issuer = "https://auth.example";

const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });

let folder: string;
let service: RunningService;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "latchkey-"));
  const keyFile = join(folder, "key.pem");
  const pem = privateKey.export({ type: "pkcs8", format: "pem" });
  await writeFile(keyFile, pem, { mode: 0o600 });
  const env = { API_PAGE: "on", TOKEN_ISSUER: issuer, SIGNING_KEY_FILE: keyFile };
  const awkward = {
    ...testUser,
    id: { type: "int", value: "2" },
    username: "O'Neil $HOME",
  } as const;
  const users = [testUser, { ...awkward, passwordHash: await hashPassword(awkwardPassword) }];
  service = await startService(env, users, { demoUser });
});
afterAll(async () => {
  await service.close();
  await rm(folder, { recursive: true });
});

describe("without a browser", () => {
  test("the page and its parts are small, guarded, and validated by their tags", async () => {
    const client = createHttpClient(service.url);
    const get = (path: string, headers = {}) => client.call(path, { method: "GET", headers });
    const html = await get("/");
    const parts = [...html.body.matchAll(/(?:src|href)="(page\/[^"]+)"/g)].map(
      ([, path]) => `/${path ?? ""}`,
    );
    const modules = ["/page/calls.js", "/page/token.js"];
    let bytes = 0;
    for (const path of new Set(["/", ...parts, ...modules])) {
      const { status, headers, body } = await get(path);
      expect([path, status]).toEqual([path, 200]);
      expect(headers["content-security-policy"]).toMatch(/^default-src 'none'; /);
      expect(headers["content-security-policy"]).not.toMatch(/unsafe|data:|\*/);
      expect(headers["x-content-type-options"]).toBe("nosniff");
      expect((await get(path, { "if-none-match": headers.etag })).status).toBe(304);
      bytes += gzipSync(body).length;
    }
    expect(bytes).toBeLessThan(250_000);
    expect(html.body).not.toMatch(/\son\w+=|style=|<script(?! type="module" src="page\/)/);
    client.close();
  });

  test("a server with the page off has none of it", async () => {
    const off = await startService();
    const client = createHttpClient(off.url);
    expect((await client.call("/", { method: "GET" })).headers["content-type"]).toMatch(
      /^text\/plain/,
    );
    expect((await client.call("/page/api-page.js", { method: "GET" })).status).toBe(404);
    client.close();
    await off.close();
  });

  test("whoever asks for JSON alone gets 404", async () => {
    const headers = { accept: "application/json" };
    expect((await fetch(service.url, { headers })).status).toBe(404);
  });
});

await describeWith({ [chromiumPath]: ["--version"] }, "in Chromium", () => {
  let browser: Browser;
  let opened: WatchedPage;
  let page: Page;
  beforeAll(async () => {
    browser = await startBrowser();
    opened = await openPage(browser, service.url);
    ({ page } = opened);
  }, 60_000);
  afterAll(() => browser.close());

  const form = (path: string) => page.locator(`article:has(form[data-path="${path}"])`);
  const verdict = () => page.locator("#verdict");
  async function send(card: Locator): Promise<string> {
    const answer = card.locator(".answer");
    // What was there before would be taken for the answer.
    const path = (await card.locator("form").getAttribute("data-path")) ?? "";
    const shown = JSON.stringify(`form[data-path="${path}"] + .answer`);
    await page.evaluate(`document.querySelector(${shown}).replaceChildren()`);
    await card.getByRole("button", { name: /^(Send|Read) / }).click();
    return answer.locator(".badge").innerText();
  }

  const forms: readonly [path: string, choices: string[], accepted: string, refused: string][] = [
    ["/api/auth/token", [], "200 OK", "403 Forbidden"],
    ["/api/v1/authentication/login", [], "200 OK", "401 Unauthorized"],
    ["/auth.v1.AuthService/Login", ["Connect"], "200 OK", "401 Unauthorized"],
    ["/auth.v1.AuthService/Login", ["gRPC-Web"], "200 OK, grpc-status 0", "200 OK, grpc-status 16"],
    ["/auth.v1.AuthService/IssueToken", ["Connect"], "200 OK", "401 Unauthorized"],
    [
      "/auth.v1.AuthService/IssueToken",
      ["gRPC-Web"],
      "200 OK, grpc-status 0",
      "200 OK, grpc-status 16",
    ],
  ];

  test.each(forms)(
    "%s %j: the demo's user logs in, his token is verified; a wrong password is refused",
    async (path, choices, accepted, refused) => {
      const card = form(path);
      for (const choice of choices) await card.getByLabel(choice, { exact: true }).check();
      await page.getByLabel("The last token").fill("");
      await card.getByLabel("Username", { exact: true }).fill(demoUser.username);
      await card.locator("input[type=password]").fill(demoUser.password);
      expect(await send(card)).toBe(accepted);
      await page.locator("#verdict.good").waitFor();
      expect(await verdict().innerText()).toMatch(/^Verified, expires in 2 hours/);
      const claims = page.locator("#claims");
      expect(await claims.getByRole("row", { name: /^iss / }).innerText()).toContain(issuer);
      expect(await claims.getByRole("row", { name: /^sub / }).innerText()).toContain(
        "the user's _id",
      );
      expect(await claims.getByRole("row", { name: /^exp / }).innerText()).toMatch(
        /expires .* in 2 hours/,
      );
      await card.getByText(/^\d+ headers$/).click();
      expect(await card.getByRole("row", { name: /^x-request-id / }).innerText()).toMatch(
        /[\w-]{36}/,
      );
      await card.getByText("See its token verified").click();
      expect(new URL(page.url()).hash).toBe("#token");

      await card.locator("input[type=password]").fill("wrong");
      expect(await send(card)).toBe(refused);
      expect(opened.faults).toEqual([]);
    },
  );

  test("every form is copied as a command of curl, which gets the same answer", async () => {
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    const copied = async (card: Locator) => {
      await page.evaluate("navigator.clipboard.writeText('')");
      await card.getByRole("button", { name: /^Copy as curl/ }).click();
      return eventually(
        () => page.evaluate<string>("navigator.clipboard.readText()"),
        (text) => text !== "",
      );
    };
    const paths = await page.evaluate<string[]>(
      "[...document.forms].map((form) => form.dataset.path)",
    );
    expect(paths.length).toBeGreaterThan(6);
    for (const path of paths) {
      const card = form(path);
      const choices = await card.getByRole("radio").count();
      const [connect, grpcWeb] = ["Connect", "gRPC-Web"].map((name) =>
        card.getByLabel(name, { exact: true }),
      ) as [Locator, Locator];
      const isRpc = (await connect.count()) > 0;
      if (isRpc) await connect.check();
      const pairs = [
        ["O'Neil $HOME", awkwardPassword],
        ["O'Neil $HOME", "wrong'"],
      ] as const;
      for (const [username, password] of choices > 0 || /login/i.test(path) ? pairs : [pairs[0]]) {
        if ((await card.locator("input[type=password]").count()) > 0) {
          await card.getByLabel("Username", { exact: true }).fill(username);
          await card.locator("input[type=password]").fill(password);
        }
        const badge = await send(card);
        const shown = await card.locator(".answer").innerText();
        const command = await copied(card);
        expect(command).toContain(`'${service.url}${path}'`);
        const output = await shell(command);
        const [head = "", body = ""] = output.split("\r\n\r\n");
        expect([path, head]).toEqual([path, expect.stringMatching(`^HTTP/1.1 ${badge}`)]);
        const withoutToken = (text: string) =>
          text.replaceAll(/eyJ[\w.-]+|\d\d:\d\d:\d\d|\s+/g, "");
        expect(withoutToken(shown)).toContain(withoutToken(body));
        if (!isRpc) continue;
        await grpcWeb.check();
        expect(await copied(card)).toBe(command);
        await card.getByText(/^Copied.*, over Connect\.$/).waitFor();
        await connect.check();
      }
    }
    const renewal = form("/api/auth/token");
    await page.getByLabel("The last token").fill(await tokenOf());
    await renewal.getByLabel("The token of this page").check();
    expect(await shell(await copied(renewal))).toMatch(/^HTTP\/1.1 200 /m);
    await renewal.getByText("Copied with the token.").waitFor();
    await renewal.getByLabel("Username and password").check();
    expect(opened.faults).toEqual([]);
  });

  test("a page that may not write to the clipboard shows the command", async () => {
    const bare = await openPage(browser, service.url);
    await bare.page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })");
    const card = bare.page.locator('article:has(form[data-path="/.well-known/jwks.json"])');
    await card.getByRole("button", { name: /^Copy as curl/ }).click();
    const command = `curl -i '${service.url}/.well-known/jwks.json'`;
    await card.getByText(command).waitFor();
    await bare.close();
  });

  test.each(["/api/auth/token", "/auth.v1.AuthService/IssueToken"])(
    "%s renews the token of the page",
    async (path) => {
      await page.getByLabel("The last token").fill(await tokenOf());
      const card = form(path);
      await card.getByLabel("The token of this page").check();
      expect(await send(card)).toMatch(/^200/);
      await page.getByLabel("The last token").fill("");
      expect(await send(card)).toMatch(/^(403|401|200 OK, grpc-status 16)/);
      await card.getByLabel("Username and password").check();
    },
  );

  test("the documents and the health rpc are read", async () => {
    for (const path of [
      "/.well-known/jwks.json",
      "/.well-known/openid-configuration",
      "/grpc.health.v1.Health/Check",
    ]) {
      expect(await send(form(path))).toBe("200 OK");
    }
    expect(await form("/.well-known/jwks.json").locator("pre").first().innerText()).toContain(
      '"kid"',
    );
    const health = form("/grpc.health.v1.Health/Check");
    await health.getByLabel("gRPC-Web").check();
    expect(await send(health)).toBe("200 OK, grpc-status 0");
    expect(await health.locator(".answer pre").innerText()).toContain("SERVING");
  });

  test("every link leads somewhere", async () => {
    const links = await page.locator("a[href]").evaluateAll((all) => all.map(String));
    expect(links.length).toBeGreaterThan(3);
    for (const link of new Set(links)) {
      const { origin, hash } = new URL(link);
      expect(origin).toBe(new URL(page.url()).origin);
      if (hash !== "") expect([link, await page.locator(hash).count()]).toEqual([link, 1]);
      else expect([link, (await fetch(link)).status]).toEqual([link, 200]);
    }
  });

  test("every operation says what it answers", async () => {
    const details = page.locator("details.documented");
    for (const each of await details.all()) {
      await each.locator("summary").click();
      expect(await each.getByRole("row").count()).toBeGreaterThan(2);
    }
  });

  test.each([
    ["an expired one", () => expired(), /^Expired \d+ /, "warn"],
    ["a forged one", async () => withClaims(await tokenOf(), { sub: "2" }), /^Forged/, "bad"],
    [
      "one of another server",
      async () => foreign(await tokenOf()),
      /^Signed by somebody else/,
      "bad",
    ],
    ["one without a signature", async () => unsigned(await tokenOf()), /^Not to be trusted/, "bad"],
    ["what is none", () => Promise.resolve("a.b"), /^Not a token/, "bad"],
  ])("a pasted token: %s", async (_, make, said, tone) => {
    await page.getByLabel("The last token").fill(await make());
    await page.locator(`#verdict.${tone}`, { hasText: said }).waitFor();
  });

  test("markup in a token is text", async () => {
    const text = "<img src=x onerror=alert(1)>";
    await page.getByLabel("The last token").fill(withClaims(await tokenOf(), { sub: text }));
    await page.locator("#verdict.bad").waitFor();
    expect(await page.locator("#claims").innerText()).toContain(text);
    expect(await page.locator("#claims img").count()).toBe(0);
    expect(opened.faults).toEqual([]);
  });

  test("with the keyboard alone, 360 pixels wide and in the dark", async () => {
    const narrow = await openPage(browser, service.url, {
      viewport: { width: 360, height: 740 },
      colorScheme: "dark",
    });
    const keys = narrow.page.keyboard;
    await keys.press("Tab");
    await keys.press("Enter");
    expect(new URL(narrow.page.url()).hash).toBe("#try");
    const focused = () =>
      narrow.page.evaluate("document.activeElement.id + document.activeElement.name");
    for (let presses = 0; (await focused()) !== "token-passwordpassword"; presses++) {
      expect(presses).toBeLessThan(12);
      await keys.press("Tab");
    }
    const outline = await narrow.page.evaluate(
      "getComputedStyle(document.activeElement).outlineStyle",
    );
    expect(outline).toBe("solid");
    await keys.press("Enter");
    await narrow.page.locator("#verdict.good").waitFor();
    expect(await narrow.page.evaluate("document.documentElement.scrollWidth")).toBe(360);
    expect(await narrow.page.evaluate("getComputedStyle(document.body).backgroundColor")).toBe(
      "rgb(20, 20, 19)",
    );
    expect(await seriousFindings(narrow.page)).toEqual([]);
    expect(narrow.faults).toEqual([]);
    await narrow.close();
  });

  test("axe finds nothing serious", async () => {
    expect(await seriousFindings(page)).toEqual([]);
  });

  test("a newcomer: from the demo's first line to a verified token", async () => {
    // Without the build before it, which would rewrite what other tests run.
    const { PATH = "" } = process.env;
    const demo = spawn("npm", ["run", "demo", "--ignore-scripts"], {
      ...{ cwd: rootDir, env: { PATH, PORT: "0" }, detached: true },
      stdio: ["ignore", "pipe", "ignore"],
    });
    const exited = once(demo, "exit");
    const lines = createInterface({ input: demo.stdout })[Symbol.asyncIterator]();
    let line = "";
    while (!line.startsWith("Open ")) line = ((await lines.next()) as { value: string }).value;
    const [url = "", statusUrl = ""] = line.match(/http:\/\/[\d.:]+/g) ?? [];
    const visit = await openPage(browser, url);
    const named = await visit.page.getByText("This is a demo").locator("b").innerText();
    const first = visit.page.locator("form").first();
    expect(await first.getByLabel("Username", { exact: true }).inputValue()).toBe(named);
    await first.getByRole("button", { name: /^Send / }).click();
    await visit.page.locator("#verdict.good", { hasText: /^Verified, expires in/ }).waitFor();
    const status = await openPage(browser, statusUrl);
    await status.page.getByText("1 accepted").waitFor();
    expect([...visit.faults, ...status.faults]).toEqual([]);
    await visit.close();
    await status.close();
    process.kill(-(demo.pid ?? 0));
    await exited;
  });

  test("the server gone: said in the form", async () => {
    const short = await startService({ API_PAGE: "on" });
    const other = await openPage(browser, short.url);
    await short.close();
    const card = other.page.locator('article:has(form[data-path="/api/auth/token"])');
    await card.getByRole("button", { name: /^(Send|Read) / }).click();
    await card.getByText("The server does not answer.").waitFor();
    await other.close();
  });
});

/** Runs a command of curl as if it was pasted. */
const shell = (command: string) => run("sh", ["-c", command], { timeoutMs: 20_000 });

async function tokenOf(url = service.url): Promise<string> {
  const response = await fetch(`${url}/api/v1/authentication/login`, {
    method: "POST",
    body: JSON.stringify(demoUser),
  });
  return ((await response.json()) as { data: string }).data;
}

const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
const decode = (part = "") => JSON.parse(Buffer.from(part, "base64url").toString()) as object;

function withClaims(token: string, claims: object): string {
  const [header, payload, signature] = token.split(".");
  return [header, encode({ ...decode(payload), ...claims }), signature].join(".");
}

function withHeader(token: string, members: object): string {
  const [header, ...rest] = token.split(".");
  return [encode({ ...decode(header), ...members }), ...rest].join(".");
}
const foreign = (token: string) => withHeader(token, { kid: "another" });
const unsigned = (token: string) => withHeader(token, { alg: "none" });

/** By the server's own key, as it would have issued it three hours ago. */
async function expired(): Promise<string> {
  const past = Math.floor(Date.now() / 1000) - 10_800;
  const token = withClaims(await tokenOf(), { iat: past, auth_time: past, exp: past + 7200 });
  const input = token.slice(0, token.lastIndexOf("."));
  return `${input}.${sign("sha256", Buffer.from(input), privateKey).toString("base64url")}`;
}
