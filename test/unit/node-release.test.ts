import { expect, test } from "@jest/globals";
import { nodeWarnings } from "../../src/config/node-release.js";

test.each([
  ["20.20.2", ["security fixes"]],
  ["25.9.0", ["security fixes"]],
  ["22.23.1", ["header lines"]],
  ["22.9.9", ["header lines"]],
  ["22.23.2", []],
  ["24.18.0", ["header lines"]],
  ["24.18.1", []],
  ["24.21.0", []],
  ["26.5.0", ["header lines"]],
  ["26.12.0", []],
])("Node.js %s", (version, expected) => {
  expect(nodeWarnings(version)).toEqual(expected.map((part) => expect.stringContaining(part)));
});
