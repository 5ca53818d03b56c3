/**
 * HTTP clients of other languages through one table. They come from Debian: `apt-get update && apt-get install
 * --no-install-recommends curl perl ruby php-cli`.
 */
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, test } from "@jest/globals";
import { fetchJars } from "../support/maven.js";
import { startService, type RunningService } from "../support/service.js";
import { describeWith, setupTimeoutMs } from "../support/toolchain.js";
import { pipe, programs } from "./programs.js";
import { expectStatuses, restCalls } from "./rest-calls.js";

const okHttp = {
  "com/squareup/okhttp3/okhttp/4.12.0/okhttp-4.12.0.jar":
    "b1050081b14bb7a3a7e55a4d3ef01b5dcfabc453b4573a4fc019767191d5f4e0",
  "com/squareup/okio/okio-jvm/3.6.0/okio-jvm-3.6.0.jar":
    "67543f0736fc422ae927ed0e504b98bc5e269fda0d3500579337cb713da28412",
  "org/jetbrains/kotlin/kotlin-stdlib/1.9.10/kotlin-stdlib-1.9.10.jar":
    "55e989c512b80907799f854309f3bc7782c5b3d13932442d0379d5c472711504",
} as const;

let service: RunningService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.close());

for (const [name, { command, args, probe }] of Object.entries(programs)) {
  await describeWith({ [command]: probe }, name, () => {
    test("is answered as the table says", async () => {
      const calls = restCalls.map(({ method, path, headers = {}, body = "" }) => ({
        method,
        url: service.url + path,
        headers,
        body: Buffer.from(body).toString("base64"),
      }));
      expectStatuses(JSON.parse(await pipe(command, args, JSON.stringify(calls))) as number[]);
    });
  });
}

await describeWith({ javac: ["--version"] }, "Java", () => {
  /**
   * HttpClient offers `Upgrade: h2c` with every request, unless told otherwise. After such a request Node's parser swallows the errors of
   * the next one on the connection (node_http_parser.cc looks at `upgrade` first), and the time-out answers.
   */
  const exceptions: Record<string, Record<string, number>> = {
    HttpClient: { "headers that are too large": 408 },
  };

  test.each([
    ...["HttpURLConnection", "HttpClient", "HttpClient of HTTP/1.1"],
    ...["OkHttp", "OkHttp over HTTP/2"],
  ])(
    "%s is answered as the table says",
    async (client) => {
      const calls = restCalls.map(({ method, path, headers = {}, body = "" }) => {
        const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
        const content = Buffer.from(body).toString("base64");
        return [method, service.url + path, content, ...fields].join("\t");
      });
      const program = join(import.meta.dirname, "Calls.java");
      const classPath = (await fetchJars(okHttp)).join(delimiter);
      const args = ["-cp", classPath, program, client];
      const statuses = JSON.parse(await pipe("java", args, calls.join("\n"))) as number[];
      expectStatuses(statuses, exceptions[client]);
    },
    setupTimeoutMs,
  );
});

for (const version of ["--http1.0", "--http1.1", "--http2-prior-knowledge"]) {
  await describeWith({ curl: ["--version"] }, `curl ${version}`, () => {
    test("is answered as the table says", async () => {
      const statuses: number[] = [];
      for (const { method, path, headers = {}, body = "" } of restCalls) {
        const fields = Object.entries(headers).flatMap(([field, value]) => [
          "-H",
          `${field}: ${value}`,
        ]);
        const head = [
          "-sS",
          version,
          "-o",
          "/dev/null",
          "-w",
          "%{http_code}",
          "-X",
          method,
          ...fields,
        ];
        const command = ["-c", `base64 -d | curl "$@"`, "sh", ...head];
        if (method !== "GET") command.push("--data-binary", "@-");
        statuses.push(
          Number(
            await pipe(
              "sh",
              [...command, service.url + path],
              Buffer.from(body).toString("base64"),
            ),
          ),
        );
      }
      expectStatuses(statuses);
    });
  });
}
