/** HTTP/2 by h2spec's word: whatever a plain server of Node does right, our listener does right. */
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createSecureServer, createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, jest, test } from "@jest/globals";
import { createListener, type ListenerOptions } from "../../src/server/listener.js";
import { makeCertificate } from "../support/certificates.js";
import { describeWith, goTool, run, setupTimeoutMs } from "../support/toolchain.js";

const casesCount = 146;

const handler: ListenerOptions["handler"] = (req, res) => {
  req.resume();
  // Late enough for the frames that are to meet a stream that is still open.
  req.once("end", () => setTimeout(() => res.end("ok"), 20));
};

// Other cases race as well, on either server.
jest.retryTimes(2);

await describeWith({ go: ["version"] }, "h2spec", () => {
  let h2spec: string;
  let folder: string;
  const tls = makeCertificate("localhost");
  beforeAll(async () => {
    h2spec = await goTool("h2spec");
    folder = await mkdtemp(join(tmpdir(), "latchkey-h2spec-"));
  }, setupTimeoutMs);
  afterAll(() => rm(folder, { recursive: true }));

  async function judge(port: number, secure: boolean): Promise<Verdict> {
    const report = join(folder, `${port}.xml`);
    const args = ["--strict", "--timeout", "1", "--port", String(port), "--junit-report", report];
    // It exits with 1 where a case fails. Without a report there is no verdict.
    await run(h2spec, secure ? ["--tls", "--insecure", ...args] : args).catch(() => undefined);
    return readVerdict(await readFile(report, "utf8"));
  }

  test.each(["cleartext", "over TLS"] as const)(
    "%s: fails nowhere that a plain server of Node passes",
    async (name) => {
      const secure = name === "over TLS";
      const plain = secure ? createSecureServer(tls, handler) : createServer(handler);
      plain.on("sessionError", () => undefined).listen(0, "127.0.0.1");
      await once(plain, "listening");
      const listener = createListener({
        host: "127.0.0.1",
        port: 0,
        handler,
        ...(secure && { tls }),
      });
      const { port } = await listener.listen();
      const [node, ours] = await Promise.all([
        judge((plain.address() as AddressInfo).port, secure),
        judge(port, secure),
      ]);
      plain.close();
      await listener.drain(0);

      expect(ours.casesCount).toBe(casesCount);
      const failedHereOnly = ours.failed.filter((title) => !node.failed.includes(title));
      expect(failedHereOnly).toEqual([]);
    },
    60_000,
  );
});

interface Verdict {
  readonly casesCount: number;
  readonly failed: readonly string[];
}

function readVerdict(report: string): Verdict {
  const cases = [
    ...report.matchAll(
      /<testcase package="([^"]*)" classname="([^"]*)"[^>]*>\s*(<error|<failure)?/g,
    ),
  ];
  const failed = cases.filter(([, , , fault]) => fault !== undefined);
  return {
    casesCount: cases.length,
    failed: failed.map(([, section, title]) => `${section}: ${title}`),
  };
}
