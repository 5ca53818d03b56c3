/** Names, codes and faults in the spans of requests; the e2e tests have the rest. */
import { describe, expect, test } from "@jest/globals";
import { describeHttp, describeRpc } from "../../src/observability/request-span.js";
import type { AccessEntry } from "../../src/server/handler.js";

const entryOf = (fields: Partial<AccessEntry>): AccessEntry => ({
  requestId: "r-1",
  route: "/auth.v1.AuthService/Login",
  method: "POST",
  httpVersion: "2.0",
  status: 200,
  outcome: undefined,
  durationMs: 1,
  ...fields,
});

describe("an rpc", () => {
  test.each([
    ["ok", "OK", "ok", undefined],
    ["token_expired", "UNAUTHENTICATED", "unauthenticated", undefined],
    ["rate_limited", "RESOURCE_EXHAUSTED", "resource_exhausted", undefined],
    ["aborted", "CANCELLED", "cancelled", undefined],
    ["overloaded", "UNAVAILABLE", "unavailable", "fault"],
    ["store_unavailable", "UNAVAILABLE", "unavailable", "fault"],
    ["internal", "INTERNAL", "internal", "fault"],
    ["deadline_exceeded", "DEADLINE_EXCEEDED", "deadline_exceeded", "fault"],
    ["not_found", "NOT_FOUND", "not_found", undefined],
  ])("%s", (outcome, grpc, connect, fault) => {
    for (const [system, code] of [
      ["grpc", grpc],
      ["connectrpc", connect],
    ] as const) {
      const { name, attributes } = describeRpc(entryOf({ outcome }), system);
      expect(name).toBe("auth.v1.AuthService/Login");
      expect(attributes).toEqual({
        "rpc.system.name": system,
        "rpc.method": "auth.v1.AuthService/Login",
        "rpc.status_code": code,
        "network.protocol.version": "2",
        "latchkey.outcome": outcome,
        ...(fault && { "error.type": code }),
      });
    }
  });

  test("whose code is not known has none", () => {
    const { attributes } = describeRpc(entryOf({ status: 415 }), "connectrpc");
    expect(attributes).not.toHaveProperty(["rpc.status_code"]);
    expect(attributes).not.toHaveProperty(["error.type"]);
    const failed = describeRpc(entryOf({ status: 500 }), "connectrpc").attributes;
    expect(failed).toHaveProperty(["error.type"], "http_500");
  });
});

test.each([
  [{ route: "/api/auth/token" }, "POST /api/auth/token", "POST", undefined],
  [{ route: "unknown", method: "other", status: 404 }, "HTTP", "_OTHER", undefined],
  [{ route: "unknown", status: 404 }, "POST", "POST", undefined],
  [{ route: "/api/auth/token", status: 429 }, "POST /api/auth/token", "POST", undefined],
  [{ route: "/api/auth/token", status: 500 }, "POST /api/auth/token", "POST", "http_500"],
  [{ route: "/login", status: 503, outcome: "overloaded" }, "POST /login", "POST", "overloaded"],
])("%j", (fields, expectedName, method, errorType) => {
  const { name, attributes } = describeHttp(entryOf(fields), "https");
  expect(name).toBe(expectedName);
  expect(attributes).toMatchObject({ "http.request.method": method, "url.scheme": "https" });
  expect(attributes["error.type"]).toBe(errorType);
  expect(attributes["url.path"]).toBe(fields.route === "unknown" ? undefined : fields.route);
});
