/** The commands of docs/operations.md, one code block after the other, as an operator pastes them. */
import { spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { finished } from "../support/cli.js";

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

test("the chapter on signing keys does what it says", async () => {
  const text = readFileSync(join(root, "docs/operations.md"), "utf8");
  const [, chapter = ""] = /\n## Signing keys\n([^]*?)(?=\n## |$(?![^]))/.exec(text) ?? [];
  const blocks = [...chapter.matchAll(/```sh\n([^]*?)```/g)].map(([, block = ""]) => block);
  expect(blocks.length).toBeGreaterThan(8);
  const script = blocks.flatMap((block) => [
    ...given.filter(([pattern]) => pattern.test(block)).map(([, setUp]) => setUp),
    block,
  ]);
  const { PATH = "" } = process.env;
  const env = {
    ...{ PATH, NODE: process.execPath, MAIN: join(root, "dist/src/main.js") },
    ...{ DATA_DIR: join(folder, "data"), PORT: "0", MANAGEMENT_PORT: "0" },
  };
  const ending = "latchkey keys list; stop";
  const child = spawn("bash", ["-c", [prelude, ...script, ending].join("\n")], {
    cwd: folder,
    env,
  });
  const { code, stdout, stderr } = await finished(child);
  expect([code, stderr.match(/^error.*$/gm)]).toEqual([0, null]);

  const list = stdout.slice(stdout.lastIndexOf("STATE"));
  expect(list.match(/^\w+/gm)?.sort()).toEqual([
    ...["STATE", "published", "published", "published", "retired", "retired"],
    ...["revoked", "signing", "trusted"],
  ]);
  expect(list).toMatch(/^trusted .* imported .* https:\/\/old\.example$/m);
}, 60_000);
