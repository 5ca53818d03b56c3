/** The commands of docs/operations.md, one code block after the other, as an operator pastes them. */
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { decodeProtectedHeader } from "jose";
import { runShell, shellBlocks } from "../support/doc-commands.js";
import { basic, createHttpClient } from "../support/http.js";
import { startServerProcess } from "../support/server-process.js";

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

const signingKid = "$(latchkey keys list | awk '$1 == \"signing\" { print $2 }')";

/** What the text around a block says is there before it. */
const given: readonly (readonly [RegExp, string])[] = [
  [/"\$KID"/, `KID=${signingKid}`],
  [/import signing-key\.pem/, "export SIGNING_KEY_FILE=signing-key.pem; latchkey serve"],
];

test("the chapter on signing keys does what it says", async () => {
  const blocks = shellBlocks("docs/operations.md", "Signing keys");
  expect(blocks.length).toBeGreaterThan(8);
  const script = blocks.flatMap((block) => [
    ...given.filter(([pattern]) => pattern.test(block)).map(([, setUp]) => setUp),
    block,
  ]);
  // What only reads or rotates makes no store.
  const emptyStore = "latchkey users import - < /dev/null";
  const { code, stdout, stderr } = await runShell([emptyStore, ...script, "latchkey keys list"], {
    cwd: folder,
  });
  expect([code, stderr.match(/^error.*$/gm)]).toEqual([0, null]);

  const list = stdout.slice(stdout.lastIndexOf("STATE"));
  expect(list.match(/^\w+/gm)?.sort()).toEqual([
    ...["STATE", "published", "published", "published", "retired", "retired"],
    ...["revoked", "signing", "trusted"],
  ]);
  expect(list).toMatch(/^trusted .* imported .* https:\/\/old\.example$/m);
});

test("the embedded store comes back from its backup: users, passwords and keys", async () => {
  const dataDir = join(folder, "restored");
  const [backUp = "", restore = ""] = shellBlocks("docs/operations.md", "Back up and restore")
    .filter((block) => block.includes("tar "))
    .map((block) => block.replaceAll("/var/lib/latchkey", dataDir));
  const password = "correct horse battery";
  const { code, stdout, stderr } = await runShell(
    [
      'systemctl() { if [ "$1" = stop ]; then stop; else latchkey serve; fi; }',
      `latchkey users add ann --password-stdin <<< "${password}"`,
      `latchkey serve; echo "${signingKid}"`,
      backUp,
      // What is undone.
      `latchkey users remove ann; latchkey keys rotate --now; echo "${signingKid}"`,
      restore,
      `echo "${signingKid}"`,
    ],
    { cwd: folder, env: { DATA_DIR: dataDir } },
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
});
