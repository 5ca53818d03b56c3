/** The pages of the public port: the OpenAPI document and the API page made from it. Depends on its neighbours. */
import type { Document } from "../gateway/documents.js";
import { renderApiPage, type ApiPageOptions } from "./api-page.js";
import { apiStyle } from "./api-style.js";
import { asset, icon, page, script, stylesheet } from "./assets.js";
import { readScript } from "./browser-scripts.js";
import { createOpenApiDocument, type OpenApiOptions } from "./openapi/document.js";
import { toYaml } from "./openapi/yaml.js";

/** Returns the documents by path, made once. */
export async function createApiPages(
  options: OpenApiOptions & ApiPageOptions,
): Promise<Readonly<Record<string, Document>>> {
  const document = await createOpenApiDocument(options);
  return {
    "/": page(renderApiPage(document, options)),
    "/openapi.json": asset("application/json", JSON.stringify(document)),
    "/openapi.yaml": asset("application/yaml", toYaml(document)),
    "/page/api.css": stylesheet(apiStyle),
    "/page/icon.svg": icon,
    "/page/api-page.js": script(await readScript("api-page")),
    "/page/calls.js": script(await readScript("calls")),
    "/page/token.js": script(await readScript("token")),
  };
}
