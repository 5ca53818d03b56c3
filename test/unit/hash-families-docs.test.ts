/** `UPDATE_GOLDEN=1 npm test -- hash-families-docs` writes the tables of docs/hash-families.md anew. */
import { readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { families, familiesTable, formatsTable } from "../../src/auth/passwords/families.js";

const file = new URL("../../docs/hash-families.md", import.meta.url);

test.each([
  ["families", familiesTable()],
  ["formats", formatsTable()],
])("the documented %s are those of the code", (name, table) => {
  const updated = readFileSync(file, "utf8").replace(
    new RegExp(`(<!-- ${name} -->\n)[^]*(\n<!-- /${name} -->)`),
    (_, start: string, end: string) => `${start}${table}${end}`,
  );
  if (process.env["UPDATE_GOLDEN"]) writeFileSync(file, updated);
  expect(readFileSync(file, "utf8")).toBe(updated);
  expect(updated).toContain(table);
});

test("the changelog counts them", () => {
  const changelog = readFileSync(new URL("../../CHANGELOG.md", import.meta.url), "utf8");
  expect(families.length).toBeGreaterThanOrEqual(48);
  expect(changelog).toContain(` ${families.length} hash formats,`);
});
