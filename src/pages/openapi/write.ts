/** Writes the OpenAPI document of a default configuration, during the build. Depends on its neighbours. */
import { writeFile } from "node:fs/promises";
import { version } from "../../config/version.js";
import { createOpenApiDocument } from "./document.js";
import { toYaml } from "./yaml.js";

const document = await createOpenApiDocument({
  version,
  issuer: "https://latchkey.example",
  tokenTtlSeconds: 7200,
  timeZone: "UTC",
  documents: [
    "/.well-known/jwks.json",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
    "/.well-known/revocations",
  ],
});
const folder = new URL("../../../", import.meta.url);
await writeFile(new URL("openapi.json", folder), `${JSON.stringify(document, null, 2)}\n`);
await writeFile(new URL("openapi.yaml", folder), toYaml(document));
