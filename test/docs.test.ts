/** What the pages and the proto say: every link leads somewhere, and every limit is the code's. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "@jest/globals";
import * as limits from "../src/auth/limits.js";
import { plainHash, presets, type Preset } from "../src/config/presets.js";
import { neededCollections, optionalCollections } from "../src/store/mongo/collections.js";

const root = fileURLToPath(new URL("../", import.meta.url));
const pages = execFileSync("git", ["ls-files", "*.md"], { cwd: root, encoding: "utf8" })
  .trim()
  .split("\n");

const withoutCode = (page: string) =>
  readFileSync(join(root, page), "utf8").replace(/^```[\s\S]*?^```/gm, "");

/** As GitHub makes it of a heading. */
const anchorOf = (heading: string) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}_ -]/gu, "")
    .replaceAll(" ", "-");

const anchorsOf = (page: string) =>
  [...withoutCode(page).matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) => anchorOf(heading));

function isBroken(page: string, link: string): boolean {
  const [path = "", anchor] = link.split("#");
  const target = path === "" ? page : join(dirname(page), path);
  if (!existsSync(join(root, target))) return true;
  return anchor !== undefined && target.endsWith(".md") && !anchorsOf(target).includes(anchor);
}

test.each(pages)("%s links to what exists", (page) => {
  const links = [...withoutCode(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = ""]) => link);
  const local = links.filter((link) => !/^[a-z]+:/.test(link));
  expect(local.filter((link) => isBroken(page, link))).toEqual([]);
});

const code = (text: string) => `\`${text}\``;

/** `UPDATE_GOLDEN=1 npm test -- docs` writes the table anew. */
test("the migration guide has the presets of the code", () => {
  const rows = Object.entries<Preset>(presets).map(([name, preset]) => {
    const { variables, hash, usernameCase, trimsUsername, findsOtherCase } = preset;
    const of = (variable: string) => variables[`USERS_${variable}_FIELD`] ?? "";
    const names = [
      code(of("USERNAME")),
      ...(usernameCase ? [`${usernameCase} case`] : []),
      ...(trimsUsername ? ["without blanks around it"] : []),
      ...(findsOtherCase ? ["in another case if nobody else has it"] : []),
    ];
    const hashes = (hash ?? plainHash).sources.map(({ path = of("PASSWORD"), salt }) =>
      [code(path), ...(salt ? [code(salt)] : [])].join(" with "),
    );
    const elsewhere = hash?.collection ? ` in the collection ${code(hash.collection.name)}` : "";
    return [
      code(name),
      code(variables["USERS_COLLECTION"] ?? ""),
      names.join(", "),
      `${hashes.join(" or ")}${elsewhere}`,
      code(of("DISABLED") || "disabled"),
      code(of("ROLES") || "roles"),
    ].join(" | ");
  });
  const heads = ["preset", "collection", "name", "hash", "disabled", "roles"];
  const table = [heads.join(" | "), heads.map(() => "---").join(" | "), ...rows];
  const file = join(root, "docs/migration.md");
  const updated = readFileSync(file, "utf8").replace(
    /(<!-- presets -->\n)[^]*(<!-- \/presets -->)/,
    (_, start: string, end: string) =>
      `${start}${table.map((row) => `| ${row} |\n`).join("")}${end}`,
  );
  if (process.env["UPDATE_GOLDEN"]) writeFileSync(file, updated);
  expect(readFileSync(file, "utf8")).toBe(updated);
});

const textOf = (file: string) => readFileSync(join(root, file), "utf8").replace(/\s+/g, " ");
const count = (value: number) => value.toLocaleString("en-US");

test("the limits of the proto and of SECURITY.md are those of the code", () => {
  const { usernameCodePointsMax, passwordBytesMax, tokenBytesMax } = limits;
  const [body, headers, token] = [limits.requestBytesMax, limits.headerBytesMax, tokenBytesMax].map(
    (bytes) => `${bytes / 1024} KiB`,
  );
  const password = `${count(passwordBytesMax)} bytes`;
  const proto = textOf("proto/auth/v1/auth.proto");
  expect(proto).toContain(`larger than ${body}.`);
  expect(proto).toContain(`1 to ${usernameCodePointsMax} Unicode code points.`);
  expect(proto).toContain(`max_len: ${usernameCodePointsMax}`);
  expect(proto).toContain(`1 to ${password} of UTF-8.`);
  expect(proto).toContain(`max_bytes: ${passwordBytesMax}`);
  const security = textOf("SECURITY.md");
  expect(security).toContain(`Body ${body}, headers ${headers} and `);
  expect(security).toContain(
    `username ${usernameCodePointsMax} code points, password ${password}, token ${token},`,
  );
});

test("each promise of SECURITY.md has its tests there", () => {
  const [promises = "", , tests = ""] = readFileSync(join(root, "SECURITY.md"), "utf8")
    .split(
      /^## (?:What Latchkey does not promise|Tests that hold this)$|^## What Latchkey promises$/m,
    )
    .slice(1);
  const promised = [...promises.matchAll(/^- \*\*([^*]+?)\.?\*\*/gm)].map(([, name]) => name);
  expect(promised.length).toBeGreaterThan(5);
  const held = [...tests.matchAll(/^\| \*\*(.+)\*\* \| \|\n\|.*\]\(test\//gm)].map(
    ([, name]) => name,
  );
  expect(held).toEqual(expect.arrayContaining(promised));
});

test("the operations guide lists the collections that the code uses", () => {
  const known: string[] = [
    ...Object.values(neededCollections),
    ...Object.values(optionalCollections).flat(),
  ];
  const guide = readFileSync(join(root, "docs/operations.md"), "utf8");
  const table = /^### Its collections$([^]*?)^## /m.exec(guide)?.[1] ?? "";
  const listed = [...table.matchAll(/`(latchkey_\w+)`/g)].map(([, name]) => name);
  expect([...new Set(listed)].sort()).toEqual(known.sort());
  const files = execFileSync("git", ["grep", "-l", '"latchkey_', "src/store"], { cwd: root });
  expect(String(files).trim()).toBe("src/store/mongo/collections.ts");
});

test.each([
  "clients/java/pom.xml",
  "clients/python/pyproject.toml",
  "deploy/kubernetes/deployment.yaml",
  "docs/clients.md",
])("%s names the version of the package", (file) => {
  const { version } = JSON.parse(textOf("package.json")) as { version: string };
  expect(textOf(file)).toContain(version);
  // A release replaces it there.
  expect(textOf(".ci/release")).toContain(file);
});
