/** Writes the document as YAML. Depends on yaml. */
import { stringify } from "yaml";
import type { OpenApiDocument } from "./document.js";

export const toYaml = (document: OpenApiDocument): string =>
  // YAML 1.1 quotes time stamps, which many readers would take for dates. No aliases: not all readers know them.
  stringify(document, { aliasDuplicateObjects: false, lineWidth: 100, schema: "yaml-1.1" });
