/** Key files of other worlds: the message names a command, and what that makes is read. */
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { loadAnyKeys, loadSigningKey, loadTrustedKeys } from "../../src/auth/keys/keys.js";
import { describeWith } from "../support/toolchain.js";

const vectors = new URL("../support/key-vectors/", import.meta.url).pathname;
const { pkcs8: kid } = JSON.parse(readFileSync(`${vectors}thumbprints.json`, "utf8")) as {
  pkcs8: string;
};
const tools = { openssl: ["version"], keytool: ["-help"], sh: ["-c", "command -v ssh-keygen"] };
/** A path that a shell has to have quoted. */
const folder = mkdtempSync(join(tmpdir(), "latchkey-foreign keys-"));
afterAll(() => rmSync(folder, { recursive: true }));

const path = (name: string) => join(folder, name);
const make = (command: string, ...args: string[]) =>
  execFileSync(command, args, { cwd: folder, stdio: "pipe" });

/** The command of a message, run as an operator would who types `secret` where it asks. */
function runCommandOf(message: string, file: string): string {
  const command = (/: ((?:keytool|openssl|cp|ssh-keygen|base64) .*)$/.exec(message)?.[1] ?? "")
    .replace("FILE", `'${path(file)}'`)
    .replaceAll("openssl pkcs12 ", "openssl pkcs12 -passin pass:secret ")
    .replace("openssl pkey ", "openssl pkey -passin pass:secret ")
    .replace("ssh-keygen -p ", "ssh-keygen -p -P secret ")
    .replace("keytool ", "keytool -noprompt -srcstorepass secret -deststorepass secret ");
  const made = /([\w.]+)$/.exec(command)?.[1] ?? "";
  rmSync(path(made), { force: true });
  const { status, stderr } = spawnSync("sh", ["-ec", command], { cwd: folder, encoding: "utf8" });
  expect([command, status, stderr]).toEqual([command, 0, expect.any(String)]);
  return made;
}

const messageOf = (loading: Promise<unknown>) =>
  loading.then(
    () => "was read",
    (error: unknown) => (error as Error).message,
  );

await describeWith(tools, "key files of other worlds", () => {
  beforeAll(() => {
    for (const name of ["pkcs8.pem", "pkcs8.der", "spki.der", "certificate.pem"]) {
      copyFileSync(join(vectors, name), path(name));
    }
    const identity = ["-inkey", "pkcs8.pem", "-in", "certificate.pem", "-passout", "pass:secret"];
    make("openssl", "pkcs12", "-export", ...identity, "-out", "store.p12");
    for (const [type, name] of [
      ["JKS", "store.jks"],
      ["JCEKS", "store.jceks"],
    ] as const) {
      const from = ["-srckeystore", "store.p12", "-srcstorepass", "secret"];
      const to = ["-destkeystore", name, "-deststoretype", type, "-deststorepass", "secret"];
      make("keytool", "-importkeystore", "-noprompt", ...from, ...to);
    }
    make(
      "keytool",
      "-importkeystore",
      "-noprompt",
      "-srckeystore",
      "store.jks",
      "-srcstorepass",
      "secret",
      "-destkeystore",
      "java.p12",
      "-deststoretype",
      "PKCS12",
      "-deststorepass",
      "secret",
    );
    copyFileSync(path("pkcs8.pem"), path("id_rsa"));
    make("chmod", "600", "id_rsa");
    make("ssh-keygen", "-p", "-N", "", "-f", "id_rsa");
    writeFileSync(path("id_rsa.pub"), make("ssh-keygen", "-y", "-f", "id_rsa"));
    copyFileSync(path("id_rsa"), path("id_rsa_secret"));
    make("chmod", "600", "id_rsa_secret");
    make("ssh-keygen", "-p", "-N", "secret", "-f", "id_rsa_secret");
    for (const [from, to] of [
      ["pkcs8.der", "private.txt"],
      ["spki.der", "public.txt"],
    ] as const) {
      writeFileSync(path(to), readFileSync(path(from)).toString("base64"));
    }
    writeFileSync(path("private76.txt"), make("base64", "pkcs8.der"));
    const secret = ["-passout", "pass:secret"];
    make("openssl", "pkcs8", "-topk8", "-in", "pkcs8.pem", ...secret, "-out", "encrypted.pem");
    make(
      "openssl",
      "pkcs8",
      "-topk8",
      "-in",
      "pkcs8.pem",
      ...secret,
      "-outform",
      "DER",
      "-out",
      "encrypted.der",
    );
    make(
      "openssl",
      "rsa",
      "-in",
      "pkcs8.pem",
      "-aes128",
      ...secret,
      "-traditional",
      "-out",
      "encrypted1.pem",
    );
  });

  test.each([
    ["store.p12", "PKCS#12"],
    ["java.p12", "PKCS#12"],
    ["store.jks", "a Java key store"],
    ["store.jceks", "a Java key store"],
    ["id_rsa", "an OpenSSH key"],
    ["id_rsa_secret", "an OpenSSH key"],
    ["private.txt", "base64"],
    ["private76.txt", "base64"],
    ["encrypted.pem", "passphrase"],
    ["encrypted.der", "passphrase"],
    ["encrypted1.pem", "passphrase"],
  ])("the private key of %s", async (name, format) => {
    const message = await messageOf(loadSigningKey(readFileSync(path(name))));
    expect(message).toContain(format);
    expect(await messageOf(loadAnyKeys(readFileSync(path(name))))).toBe(message);
    const made = runCommandOf(message, name);
    expect(await loadSigningKey(readFileSync(path(made)))).toMatchObject({ kid });
  });

  test.each([
    ["store.p12", "PKCS#12"],
    ["java.p12", "PKCS#12"],
    ["store.jks", "a Java key store"],
    ["id_rsa", "an OpenSSH key"],
    ["id_rsa.pub", "an OpenSSH public key"],
    ["public.txt", "base64"],
    ["pkcs8.pem", "must be public"],
    ["pkcs8.der", "must be public"],
  ])("the public key of %s", async (name, format) => {
    const message = await messageOf(loadTrustedKeys(readFileSync(path(name))));
    expect(message).toContain(format);
    const made = runCommandOf(message, name);
    expect(await loadTrustedKeys(readFileSync(path(made)))).toMatchObject([{ kid }]);
  });

  test("a public OpenSSH key cannot sign, and is none to import as such", async () => {
    const bytes = readFileSync(path("id_rsa.pub"));
    expect(await messageOf(loadSigningKey(bytes))).toMatch(/^this is no private key/);
    expect(await messageOf(loadAnyKeys(bytes))).toMatch(/ssh-keygen -e/);
  });
});
