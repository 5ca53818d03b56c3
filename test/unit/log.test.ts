import { expect, test } from "@jest/globals";
import { createAccessLog, createLogger } from "../../src/observability/log.js";
import type { AccessEntry } from "../../src/server/handler.js";

const entry: AccessEntry = {
  requestId: "caller.id-1",
  route: "/api/auth/token",
  method: "POST",
  httpVersion: "1.1",
  status: 200,
  outcome: undefined,
  durationMs: 0.125,
};

test.each([
  ["without an outcome", entry],
  ["with all there is", { ...entry, outcome: "ok", trace_id: "0af7", span_id: "b7ad" }],
])("the line of a request %s is the one that the logger would write", (_, entry) => {
  const lines: string[] = [];
  const write = (line: string) => void lines.push(line.replace(/"time":"[^"]*Z"/, '"time":""'));
  createAccessLog(write)(entry);
  createLogger("info", { write }).info({ event: "request", ...entry });
  expect(lines[0]).toBe(lines[1]);
});
