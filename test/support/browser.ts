/** A real browser for the pages, and the checks of every page that it opens. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";
import { rootDir } from "./toolchain.js";

export const chromiumPath = process.env["CHROMIUM"] ?? "/usr/bin/chromium";

export function startBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: chromiumPath,
    args: [
      ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
      ...["background-networking", "component-update", "sync"].map((name) => `--disable-${name}`),
    ],
  });
}

export interface WatchedPage {
  readonly page: Page;
  /** Faults of the page so far: errors, violations of its policy, requests to other hosts. */
  readonly faults: string[];
  close(): Promise<void>;
}

export async function openPage(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<WatchedPage> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const faults: string[] = [];
  // The console reports violations of the policy as errors.
  page.on("console", (message) => {
    // It also reports a refused login as an error; that is expected.
    const isAnswer = message.text().startsWith("Failed to load resource");
    if (message.type() === "error" && !isAnswer) faults.push(message.text());
  });
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin) faults.push(request.url());
  });
  await page.goto(url);
  return { page, faults, close: () => context.close() };
}

const axe = readFileSync(join(rootDir, "node_modules/axe-core/axe.min.js"), "utf8");

/** The serious findings of axe, as rule and element. */
export async function seriousFindings(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const results = await page.evaluate<AxeResults>("axe.run()");
  return results.violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(" ")}`));
}

interface AxeResults {
  readonly violations: readonly {
    readonly id: string;
    readonly impact: string;
    readonly nodes: readonly { readonly target: readonly string[] }[];
  }[];
}
