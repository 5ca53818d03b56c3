/** TLS files that are read while they are written: nothing but a whole pair is ever put to use. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { readTlsFiles, secureContextOptions, watchTlsFiles } from "../../src/server/tls.js";
import { makeCertificate, type Certificate } from "../support/certificates.js";
import { eventually } from "../support/server-process.js";

const folder = mkdtempSync(join(tmpdir(), "latchkey-tls-watch-"));
afterAll(() => rmSync(folder, { recursive: true }));
const files = { certFile: join(folder, "cert.pem"), keyFile: join(folder, "key.pem") };
let [old, next]: Certificate[] = [];
beforeAll(() => {
  [old, next] = [makeCertificate("old"), makeCertificate("next")];
});

function write({ cert, key }: Partial<Certificate>): void {
  if (cert !== undefined) writeFileSync(files.certFile, cert);
  if (key !== undefined) writeFileSync(files.keyFile, key);
}
const half = (text = "") => text.slice(0, text.length / 2);

test.each<[string, (next: Certificate) => Partial<Certificate>]>([
  ["the certificate alone", ({ cert }) => ({ cert })],
  ["the key alone", ({ key }) => ({ key })],
  ["half of the certificate", ({ cert, key }) => ({ cert: half(cert), key })],
  ["half of the key", ({ cert, key }) => ({ cert, key: half(key) })],
  ["a certificate without its last line", ({ cert, key }) => ({ cert: cert.slice(0, -10), key })],
  ["an emptied certificate", ({ key }) => ({ cert: "", key })],
  ["an emptied key", ({ cert }) => ({ cert, key: "" })],
])("%s: the old pair stays, and the whole new one is taken", async (_, partOf) => {
  if (!old || !next) throw new Error("no certificates");
  write(old);
  const used: string[] = [];
  let errors = 0;
  const unwatch = watchTlsFiles({
    files,
    current: await readTlsFiles(files),
    reload(material) {
      secureContextOptions(material);
      used.push(material.cert);
    },
    onError: () => errors++,
    intervalMs: 10,
  });
  try {
    write(partOf(next));
    await eventually(
      () => Promise.resolve(errors),
      (count) => count > 0,
    );
    expect(used).toEqual([]);
    write(next);
    await eventually(
      () => Promise.resolve(used.length),
      (count) => count > 0,
    );
    expect(used).toEqual([next.cert]);
  } finally {
    unwatch();
  }
});
