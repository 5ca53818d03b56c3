/** The commands of docs/operations.md, one code block after the other, as an operator pastes them. */
import { spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { decodeProtectedHeader } from "jose";
import { finished } from "../support/cli.js";
import { basic, createHttpClient } from "../support/http.js";
import { startServerProcess } from "../support/server-process.js";

const root = new URL("../../", import.meta.url).pathname;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "latchkey-operations-"));
  for (const name of ["old-server.pem", "other-server.pem", "signing-key.pem"]) {
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    writeFileSync(join(folder, name), privateKey.export({ type: "pkcs8", format: "pem" }));
  }
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  writeFileSync(join(folder, "public.pem"), publicKey.export({ type: "spki", format: "pem" }));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Starts a server in place of the one before, and has it ready; runs every other command. */
const prelude = `
set -euo pipefail
SERVER=
stop() { if [ -n "$SERVER" ]; then kill "$SERVER"; wait "$SERVER"; SERVER=; fi; }
trap '[ -z "$SERVER" ] || kill -KILL "$SERVER"' EXIT
latchkey() {
  if [ "$1" != serve ]; then "$NODE" "$MAIN" "$@"; return; fi
  stop
  "$NODE" "$MAIN" serve > server.log 2>&1 &
  SERVER=$!
  for attempt in $(seq 300); do
    if grep -q '"event":"started"' server.log; then return; fi
    kill -0 "$SERVER" || { cat server.log >&2; exit 1; }
    sleep 0.1
  done
  exit 1
}
signing_kid() { latchkey keys list | awk '$1 == "signing" { print $2 }'; }
`;

/** What the text around a block says is there before it. */
const given: readonly (readonly [RegExp, string])[] = [
  [/"\$KID"/, "KID=$(signing_kid)"],
  [/import signing-key\.pem/, "export SIGNING_KEY_FILE=signing-key.pem; latchkey serve"],
];

/** The code blocks of a chapter. */
function blocksOf(title: string): string[] {
  const text = readFileSync(join(root, "docs/operations.md"), "utf8");
  const [, chapter = ""] =
    new RegExp(`\\n## ${title}\\n([^]*?)(?=\\n## |$(?![^]))`).exec(text) ?? [];
  return [...chapter.matchAll(/```sh\n([^]*?)```/g)].map(([, block = ""]) => block);
}

function paste(script: readonly string[], dataDir: string) {
  const { PATH = "" } = process.env;
  const env = {
    ...{ PATH, NODE: process.execPath, MAIN: join(root, "dist/src/main.js") },
    ...{ DATA_DIR: dataDir, PORT: "0", MANAGEMENT_PORT: "0" },
  };
  const child = spawn("bash", ["-c", [prelude, ...script].join("\n")], { cwd: folder, env });
  return finished(child);
}

test("the chapter on signing keys does what it says", async () => {
  const blocks = blocksOf("Signing keys");
  expect(blocks.length).toBeGreaterThan(8);
  const script = blocks.flatMap((block) => [
    ...given.filter(([pattern]) => pattern.test(block)).map(([, setUp]) => setUp),
    block,
  ]);
  const ending = "latchkey keys list; stop";
  const { code, stdout, stderr } = await paste([...script, ending], join(folder, "data"));
  expect([code, stderr.match(/^error.*$/gm)]).toEqual([0, null]);

  const list = stdout.slice(stdout.lastIndexOf("STATE"));
  expect(list.match(/^\w+/gm)?.sort()).toEqual([
    ...["STATE", "published", "published", "published", "retired", "retired"],
    ...["revoked", "signing", "trusted"],
  ]);
  expect(list).toMatch(/^trusted .* imported .* https:\/\/old\.example$/m);
}, 60_000);

test("the embedded store comes back from its backup: users, passwords and keys", async () => {
  const dataDir = join(folder, "restored");
  const [backUp = "", restore = ""] = blocksOf("Back up and restore")
    .filter((block) => block.includes("tar "))
    .map((block) => block.replaceAll("/var/lib/latchkey", dataDir));
  const password = "correct horse battery";
  const { code, stdout, stderr } = await paste(
    [
      'systemctl() { if [ "$1" = stop ]; then stop; else latchkey serve; fi; }',
      `latchkey users add ann --password-stdin <<< "${password}"`,
      "latchkey serve; signing_kid",
      backUp,
      // What is undone.
      "latchkey users remove ann; latchkey keys rotate --now; signing_kid",
      restore,
      "signing_kid; stop",
    ],
    dataDir,
  );
  expect([code, stderr.match(/^error.*$/gm)]).toEqual([0, null]);
  const [before, since, after] = stdout.match(/^[\w-]{43}$/gm) ?? [];
  expect(before).not.toBe(since);
  expect(after).toBe(before);
  expect(statSync(join(folder, "latchkey.tgz")).mode & 0o077).toBe(0);

  const server = await startServerProcess({ DATA_DIR: dataDir });
  const client = createHttpClient(server.url);
  const headers = { authorization: basic("ann", password) };
  const { status, body } = await client.call("/api/auth/token", { headers });
  client.close();
  expect(await server.stop()).toBe(0);
  expect(status).toBe(200);
  const { token } = JSON.parse(body) as { token: string };
  expect(decodeProtectedHeader(token).kid).toBe(before);
}, 60_000);
