/** The commands of docs/take-over.md, one code block after the other, as an operator pastes them. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { runShell, shellBlocks } from "../support/doc-commands.js";
import { startOldServer, type OldServer } from "../support/old-server.js";

const password = "correct horse";
let folder: string;
let old: OldServer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "latchkey-guide-"));
  const users = ["1", "2", "3"].map((id) => ({ id, username: `user${id}`, password }));
  old = await startOldServer({ users });
  writeFileSync(join(folder, "old-server.pem"), old.publicKeyPem);
  writeFileSync(join(folder, "old-server-private.pem"), old.privateKeyPem, { mode: 0o600 });
});
afterAll(async () => {
  await old.stop();
  rmSync(folder, { recursive: true });
});

/** Logs in through Latchkey; prints the status. */
const login = (name: string) =>
  `"$NODE" -e 'fetch(process.argv[1] + "/api/auth/token", { method: "POST", headers: { authorization: "Basic " + btoa("${name}:${password}") } }).then(({ status }) => console.log("${name}", status))' "$URL"`;

test("from the first UPSTREAM_URL to finish, and without the old server", async () => {
  const blocks = shellBlocks("docs/take-over.md").map((block) =>
    block.replaceAll("https://old.internal:8443", old.url),
  );
  const [stand, status, ready, sign, lead, back, finish] = blocks as [string, ...string[]];
  expect(blocks).toHaveLength(7);
  const untilLearnt = (count: number) =>
    `until latchkey takeover status --json | grep -q '"learnt":${count},'; do sleep 0.1; done`;
  const script = [
    ...[stand, login("user1"), untilLearnt(1), status ?? "", ready ?? ""],
    // One who is in the users collection without a hash, and one without whom doctor calls it empty.
    `latchkey users import - <<< '{"_id":1,"username":"user1"}'`,
    `latchkey users add ann --password-stdin <<< "${password} battery"`,
    ...[sign ?? "", lead ?? "", login("user2"), untilLearnt(2), back ?? "", login("user1")],
    ...[finish ?? "", 'echo "# alone"', login("user1"), login("user2"), login("user3")],
    "latchkey audit",
  ];
  const { code, stdout, stderr } = await runShell(script, { cwd: folder });
  // What is compared in the background is stored a moment later.
  const notReady = /^error: not ready: (nothing was compared yet|compared since .* only)$/;
  expect([code, stderr.match(/^error.*$/gm)]).toEqual([0, [expect.stringMatching(notReady)]]);
  expect(stdout).toContain("not yet");
  expect(stdout).toContain("SIGNING_KEY_FILE is the old server's key");
  expect(stdout).toContain("1 moved into the users collection");
  expect(stdout).toContain("1 created there; only the old server knew them");
  const alone = stdout.slice(stdout.indexOf("# alone"));
  expect(alone.match(/^user\d \d+$/gm)).toEqual(["user1 200", "user2 200", "user3 403"]);
  expect(alone).toMatch(/takeover_lead[^]*takeover_finished/);
}, 120_000);
