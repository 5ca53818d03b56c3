/** The document as YAML. Depends on yaml. */
import { stringify } from "yaml";
import type { OpenApiDocument } from "./document.js";

export const toYaml = (document: OpenApiDocument): string =>
  // Quoted as YAML 1.1 needs it: many readers take a bare time stamp for a date. Not all follow aliases.
  stringify(document, { aliasDuplicateObjects: false, lineWidth: 100, schema: "yaml-1.1" });
