/**
 * What the public port shows to people: the OpenAPI document and the page that is made of it. Depends on its
 * neighbours and on gateway.
 */
import { createHash } from "node:crypto";
import type { Document } from "../gateway/documents.js";
import { createOpenApiDocument, type OpenApiOptions } from "./openapi/document.js";
import { toYaml } from "./openapi/yaml.js";

/** The documents by path, made once. */
export async function createApiPages(
  options: OpenApiOptions,
): Promise<Readonly<Record<string, Document>>> {
  const document = await createOpenApiDocument(options);
  return {
    "/openapi.json": asset(JSON.stringify(document), "application/json"),
    "/openapi.yaml": asset(toYaml(document), "application/yaml"),
  };
}

function asset(body: string, type: string): Document {
  const etag = `"${createHash("sha256").update(body).digest("base64url")}"`;
  return { body, etag, type, caching: "no-cache" };
}
