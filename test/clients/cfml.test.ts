/**
 * A CFML engine, as the clients of the second old server are: Lucee from Maven Central, run without a window. It
 * takes a minute, so it runs by `npm run test:clients` alone.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { fetchJars } from "../support/maven.js";
import { startService, type RunningService } from "../support/service.js";
import { describeWith, run, setupTimeoutMs } from "../support/toolchain.js";

const jars = {
  "org/lucee/lucee/5.4.6.9/lucee-5.4.6.9.jar":
    "1cb7ea14b0218c50063b8bff5401e63287885b4d6f77c645acca4b273b0f4d68",
  "javax/servlet/javax.servlet-api/3.1.0/javax.servlet-api-3.1.0.jar":
    "af456b2dd41c4e82cf54f3e743bc678973d9fe35bd4d3071fa05c7e5333b8482",
  "javax/servlet/jsp/javax.servlet.jsp-api/2.3.3/javax.servlet.jsp-api-2.3.3.jar":
    "409a534d275ef0958a2c1692472da30e3706bfe6933d56c039376f53f13689b7",
  "javax/el/javax.el-api/3.0.0/javax.el-api-3.0.0.jar":
    "8d21ac8c3a38027be27ff4c4fe24806ae2fc188559123253ddc7425066d78fa1",
} as const;

const page = `<cfscript>
base = createObject("java", "java.lang.System").getenv("LATCHKEY_URL");
target = base & "/api/v1/authentication/login";
function post(text) {
  cfhttp(method="POST", url=target, result="local.answer") {
    cfhttpparam(type="header", name="Content-Type", value="application/json");
    cfhttpparam(type="body", value=text);
  }
  return answer;
}
right = post(serializeJSON({username: "TestUser", password: "password"}));
wrong = post(serializeJSON({username: "TestUser", password: "no"}));
cfhttp(method="POST", url=base & "/api/auth/token", username="TestUser", password="password", result="token");
cfhttp(method="GET", url=base & "/.well-known/jwks.json", result="keys");
data = deserializeJSON(right.fileContent);
systemOutput("RESULT " & serializeJSON({
  "sent": serializeJSON({username: "TestUser"}),
  "statuses": [right.status_code, wrong.status_code, token.status_code, keys.status_code],
  "isDate": isDate(data.token_exp),
  "error": data.error
}), true);
// Else the client's threads keep it running.
createObject("java", "java.lang.Runtime").getRuntime().halt(0);
</cfscript>`;

if (process.env["CLIENTS"] !== "all") {
  test.skip("a CFML engine: run by npm run test:clients", () => undefined);
} else {
  await describeWith({ java: ["-version"] }, "Lucee", () => {
    let service: RunningService;
    let folder: string;
    beforeAll(async () => {
      service = await startService();
      folder = await mkdtemp(join(tmpdir(), "latchkey-cfml-"));
    });
    afterAll(async () => {
      await service.close();
      await rm(folder, { recursive: true });
    });

    test(
      "logs in with the names that serializeJSON writes in upper case, and reads the expiry as a date",
      async () => {
        const classPath = (await fetchJars(jars)).join(":");
        await writeFile(join(folder, "index.cfm"), page);
        const args = ["-Djava.awt.headless=true", "-cp", classPath, "lucee.cli.CLI"];
        const output = await run("java", [...args, `-webroot=${folder}`, "-uri=/index.cfm"], {
          env: { LATCHKEY_URL: service.url },
        });
        const [, result = output] = /RESULT (.*)/.exec(output) ?? [];
        expect(JSON.parse(result)).toEqual({
          sent: '{"USERNAME":"TestUser"}',
          statuses: [200, 401, 200, 200],
          isDate: true,
          error: false,
        });
      },
      setupTimeoutMs,
    );
  });
}
