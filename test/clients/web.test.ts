/**
 * connect-web in Chromium, on a page of another origin, so that CORS decides what it may send and read. Over TLS
 * the browser speaks HTTP/2, otherwise HTTP/1.1.
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { Browser, Page } from "playwright-core";
import { chromiumPath, startBrowser } from "../support/browser.js";
import { makeCertificate } from "../support/certificates.js";
import { startService, type RunningService } from "../support/service.js";
import { describeWith, npmTool, run } from "../support/toolchain.js";
import type { TransportName, WebPage } from "./connect-web.js";
import { expectCodes, rpcCalls } from "./rpc-calls.js";

const transports = ["Connect in JSON", "Connect in binary", "gRPC-Web"] as const;
const schemes = ["http", "https"] as const;
const rows = schemes.flatMap((scheme) => transports.map((name) => [name, scheme] as const));

await describeWith({ [chromiumPath]: ["--version"] }, "connect-web in Chromium", () => {
  let folder: string;
  let site: Server;
  let services: Record<(typeof schemes)[number], RunningService>;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "latchkey-web-"));
    const script = join(folder, "page.js");
    const input = join(import.meta.dirname, "connect-web.ts");
    await run(npmTool("rolldown"), [input, "--platform", "browser", "--file", script]);
    const html = `<!doctype html><script type="module">${await readFile(script, "utf8")}</script>`;
    site = createServer((_, res) => res.setHeader("content-type", "text/html").end(html));
    await new Promise<void>((resolve) => site.listen(0, "127.0.0.1", resolve));
    const origin = `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
    const { cert, key } = makeCertificate("localhost");
    const files = { cert: join(folder, "cert.pem"), key: join(folder, "key.pem") };
    await Promise.all([writeFile(files.cert, cert), writeFile(files.key, key)]);
    const env = { CORS_ORIGINS: origin };
    services = {
      http: await startService(env),
      https: await startService({ ...env, TLS_CERT_FILE: files.cert, TLS_KEY_FILE: files.key }),
    };
    browser = await startBrowser();
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    page = await context.newPage();
    await page.goto(origin);
  });
  afterAll(async () => {
    await browser.close();
    await Promise.all(schemes.map((scheme) => services[scheme].close()));
    site.close();
    await rm(folder, { recursive: true });
  });

  type Call = { readonly name: TransportName; readonly url: string };
  const callAll = (call: Call) =>
    page.evaluate(
      ([{ name, url }, calls]) =>
        (globalThis as unknown as { page: WebPage }).page.callAll(name, url, calls),
      [call, rpcCalls] as const,
    );

  test.each(rows)("%s reads the codes of the table over %s", async (name, scheme) => {
    const answers = await callAll({ name, url: services[scheme].url });
    // Over HTTP/1.1 the server stops reading before it knows the origin, and the page cannot read the answer.
    const exceptions = scheme === "http" ? { "one past the header limit": 2 } : {};
    expectCodes(
      answers.map(({ code }) => code),
      exceptions,
    );
    expect(answers.filter(({ code, hasRequestId }) => code !== 2 && !hasRequestId)).toEqual([]);
  });

  test.each(rows)("%s reads a stream over %s", async (name, scheme) => {
    const status = await page.evaluate(
      ({ name, url }) => (globalThis as unknown as { page: WebPage }).page.watch(name, url),
      { name, url: services[scheme].url },
    );
    expect(status).toBe(1);
  });
});
