/**
 * Compares answers byte for byte with files in test/golden. Values that differ from run to run are
 * replaced by their names. `UPDATE_GOLDEN=1 npm test -- rest` writes the files anew; read their
 * diff before you commit it.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { expect } from "@jest/globals";
import type { Reply } from "./http.js";

const folder = new URL("../golden/", import.meta.url);

/** Values that differ from run to run. Any other difference changes the contract. */
const values: readonly [RegExp, string][] = [
  [/eyJ[\w-]+\.[\w-]+\.[\w-]+/g, "<jwt>"],
  [/"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00"/, '"timestamp":"<timestamp>"'],
  [/"token_exp":"[A-Z][a-z]+, \d\d \d{4} \d\d:\d\d:\d\d"/, '"token_exp":"<token_exp>"'],
];
const headerValues: Readonly<Record<string, string>> = {
  "x-request-id": "<request id>",
  "retry-after": "<seconds>",
};
/** Headers of the connection, not of the answer. */
const hopByHop = ["connection", "keep-alive", "date"];

export function expectGolden(name: string, reply: Reply): void {
  const headers = Object.entries(reply.headers)
    .filter(([header]) => !hopByHop.includes(header))
    .map(([header, value]) => `${header}: ${headerValues[header] ?? String(value)}`)
    .sort();
  const body = values.reduce((text, [form, name]) => text.replace(form, name), reply.body);
  // The length follows from values of no fixed length.
  const length = /<jwt>|<token_exp>/.test(body) ? "<length>" : undefined;
  const text = [String(reply.status), ...headers, "", body]
    .join("\n")
    .replace(/content-length: \d+/, (line) => (length ? `content-length: ${length}` : line));
  const file = new URL(`${name}.http`, folder);
  if (process.env["UPDATE_GOLDEN"]) writeFileSync(file, text);
  expect(text).toBe(readFileSync(file, "utf8"));
}
