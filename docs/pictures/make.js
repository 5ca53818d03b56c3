/**
 * Makes the pictures of the README from the built service: `npm run pictures`. Takes Chromium, at
 * /usr/bin/chromium or where `CHROMIUM` says.
 */
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = fileURLToPath(new URL("./", import.meta.url));
const main = fileURLToPath(new URL("../../dist/src/main.js", import.meta.url));
const { PATH = "", CHROMIUM = "/usr/bin/chromium" } = process.env;
const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url)));
const user = { username: "TestUser", password: "password" };

const folder = mkdtempSync(join(tmpdir(), "latchkey-pictures-"));
const demo = spawn(process.execPath, [main, "serve", "--demo", "--json"], {
  env: { PATH, PORT: "0" },
});
try {
  const { url, managementUrl } = await addressesOf(demo);
  const token = await makeTraffic(url);
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ["--headless", "--no-sandbox", "--disable-gpu"],
  });
  await picture(browser, url, "api-page.png", async (page) => {
    await page.locator('form[data-path="/api/auth/token"] button:not(.copy)').click();
    await page.locator("#verdict.good").waitFor();
    await page.evaluate("document.getElementById('try').scrollIntoView({ behavior: 'instant' })");
  });
  await picture(browser, managementUrl, "status-page.png", async (page) => {
    await page.setViewportSize({ width: 1180, height: 1080 });
  });
  await browser.close();
  commandLine("contract.svg", ["contract", url, "--user", user.username, "--password-stdin"], {
    input: user.password,
    shown: `latchkey contract ${url} --user ${user.username} --password-stdin < password`,
    linesMax: 24,
  });
  const env = {
    DATA_DIR: join(folder, "data"),
    KEY_ENCRYPTION_KEY: randomBytes(32).toString("hex"),
    AUDIT_LOG: "off",
  };
  for (const name of ["ann", "ben", "TestUser"]) {
    const id = name === "TestUser" ? ["--id", "1"] : [];
    run(["users", "add", name, ...id, "--password-stdin"], env, "correct horse battery staple");
  }
  // The demo stands for the old server.
  const keysFile = join(folder, "old-server-keys.json");
  writeFileSync(keysFile, await (await fetch(`${url}/.well-known/jwks.json`)).text());
  const takeover = { ...env, UPSTREAM_URL: url, TRUSTED_KEYS_FILE: keysFile, UPSTREAM_LEAD: "50" };
  const ports = { PORT: "0", MANAGEMENT_PORT: "0", UPSTREAM_PATHS: "token,login" };
  const server = spawn(process.execPath, [main, "serve"], { env: { PATH, ...takeover, ...ports } });
  try {
    await makeTraffic((await lineOf(server, ({ event }) => event === "started")).url);
    // What was counted is written within a second.
    await setTimeout(3000);
    commandLine("takeover.svg", ["takeover", "status"], {
      env: takeover,
      shown: "latchkey takeover status",
    });
  } finally {
    server.kill();
    await once(server, "exit");
  }
  commandLine("doctor.svg", ["doctor"], { env, shown: "latchkey doctor" });
  if (token === undefined) throw new Error("the demo issues no token");
  // A test compares it with the version of the package.
  writeFileSync(join(here, "made.json"), `{ "version": "${version}" }\n`);
} finally {
  demo.kill();
  rmSync(folder, { recursive: true });
}

/** Resolves with the first line of that kind. */
function lineOf(child, isWanted) {
  return new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const entry = JSON.parse(line);
      if (isWanted(entry)) resolve(entry);
    });
    child.once("exit", () => reject(new Error("the server has ended")));
  });
}

/** Resolves with what the demo prints first. */
function addressesOf(child) {
  return new Promise((resolve, reject) => {
    let text = "";
    child.stdout.on("data", (chunk) => {
      text += chunk;
      if (text.trimEnd().endsWith("}")) resolve(JSON.parse(text));
    });
    child.once("exit", () => reject(new Error("the demo has ended")));
  });
}

/** Logins and renewals, some of which are refused. Resolves with a token. */
async function makeTraffic(url) {
  let token;
  for (let i = 0; i < 9; i++) {
    const body = JSON.stringify(i % 3 === 2 ? { ...user, password: "wrong" } : user);
    const answer = await fetch(`${url}/api/v1/authentication/login`, { method: "POST", body });
    token = (await answer.json()).data || token;
  }
  for (const bearer of [...Array(14).fill(token), "a.b.c"]) {
    const headers = { authorization: `Bearer ${bearer}` };
    await fetch(`${url}/api/auth/token`, { method: "POST", headers });
  }
  return token;
}

async function picture(browser, url, name, act) {
  const page = await browser.newPage({ viewport: { width: 1180, height: 740 } });
  await page.goto(url);
  await act(page);
  // The pointer leaves no trace, the cursor none either.
  await page.mouse.move(0, 0);
  await page.screenshot({ path: join(here, name), caret: "hide", animations: "disabled" });
  await page.close();
}

function run(args, env, input) {
  const options = { env: { PATH, ...env }, input, encoding: "utf8" };
  return spawnSync(process.execPath, ["--no-warnings", main, ...args], options).stdout;
}

/** A command and what it says, as text that scales. */
function commandLine(name, args, { env = {}, input = "", shown, linesMax = 40 }) {
  const output = run(args, env, input).replaceAll(folder, "/var/lib/latchkey").trimEnd();
  const all = output.split("\n");
  const middle =
    all.length > linesMax ? [...all.slice(0, linesMax - 4), "…", ...all.slice(-3)] : all;
  const lines = [`$ ${shown}`, ...middle].flatMap((line) => line.match(/.{1,112}/g) ?? [""]);
  const height = 24 * lines.length + 40;
  const width = 8.43 * Math.max(...lines.map((line) => line.length)) + 48;
  const texts = lines.map((line, i) => {
    const fill = i === 0 ? "#62cfb9" : colourOf(line);
    return `<text x="24" y="${40 + 24 * i}" fill="${fill}" xml:space="preserve">${escape(line)}</text>`;
  });
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${Math.ceil(width)} ${height}" width="${Math.ceil(width)}" font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono',monospace" font-size="14">
<title>${escape(shown)}</title>
<rect width="100%" height="100%" rx="12" fill="#1c1c1a"/>
${texts.join("\n")}
</svg>
`;
  writeFileSync(join(here, name), svg);
}

function colourOf(line) {
  if (/^(WARNING|warning)/.test(line)) return "#f0c060";
  if (/^(ERROR|error)|differs|DIFFERENT/.test(line)) return "#ff8a80";
  return "#eceae6";
}

function escape(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
