/** What browsers are told: of listed origins on what is called, of all origins on what is published. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { createHttpClient, type HttpClient } from "../support/http.js";
import { startService, type RunningService } from "../support/service.js";

const origin = "https://app.example";
const called = ["/api/auth/token", "/api/v1/authentication/login", "/auth.v1.AuthService/Login"];
const published = [
  "/.well-known/jwks.json",
  "/.well-known/openid-configuration",
  "/.well-known/oauth-authorization-server",
  "/.well-known/revocations",
];

let service: RunningService;
let client: HttpClient;
beforeAll(async () => {
  service = await startService({
    CORS_ORIGINS: origin,
    TOKEN_ISSUER: "https://auth.example",
    REVOCATIONS: "on",
  });
  client = createHttpClient(service.url);
});
afterAll(async () => {
  client.close();
  await service.close();
});

const preflight = (path: string, from: string, method: string) =>
  client.call(path, {
    method: "OPTIONS",
    headers: { origin: from, "access-control-request-method": method },
  });
const names = (header: string | string[] | undefined) => String(header).toLowerCase().split(", ");

describe.each(called)("%s", (path) => {
  test("a listed origin may send what the protocols and traces need, and read what the answers have", async () => {
    const { status, headers } = await preflight(path, origin, "POST");
    expect([status, headers["access-control-allow-origin"]]).toEqual([204, origin]);
    expect(names(headers["access-control-allow-headers"])).toEqual(
      expect.arrayContaining([
        ...["authorization", "content-type", "grpc-timeout", "connect-timeout-ms", "x-grpc-web"],
        ...["x-user-agent", "traceparent", "tracestate", "x-request-id"],
      ]),
    );
    const { headers: answer } = await client.call(path, { headers: { origin } });
    expect(names(answer["access-control-expose-headers"])).toEqual(
      expect.arrayContaining([
        "grpc-status",
        "grpc-message",
        "etag",
        "retry-after",
        "x-request-id",
      ]),
    );
  });

  test("a listed origin may read what the listener refuses", async () => {
    const long = { "x-long": "a".repeat(20_000) };
    const { status, headers } = await client.call(path, { headers: { origin, ...long } });
    expect([status, headers["access-control-allow-origin"]]).toEqual([431, origin]);
    expect(names(headers["access-control-expose-headers"])).toContain("x-request-id");
    const other = { origin: "https://other.example", ...long };
    const { headers: answer } = await client.call(path, { headers: other });
    expect(answer).not.toHaveProperty("access-control-allow-origin");
  });

  test("another origin may not", async () => {
    const { headers } = await preflight(path, "https://other.example", "POST");
    expect(headers).not.toHaveProperty("access-control-allow-origin");
  });
});

describe.each(published)("%s", (path) => {
  test.each([origin, "https://other.example"])("%s may read it and its ETag", async (from) => {
    const allowed = await preflight(path, from, "GET");
    expect(allowed.status).toBe(204);
    expect(allowed.headers).toMatchObject({
      "access-control-allow-origin": "*",
      "access-control-allow-methods": "GET, HEAD",
      "access-control-allow-headers": "*",
    });
    const call = { method: "GET", headers: { origin: from } };
    const { status, headers } = await client.call(path, call);
    expect(status).toBe(200);
    expect(headers["access-control-allow-origin"]).toBe("*");
    expect(names(headers["access-control-expose-headers"])).toContain("etag");
    const etag = String(headers.etag);
    const cached = await client.call(path, { ...call, headers: { "if-none-match": etag } });
    expect([cached.status, cached.headers["access-control-allow-origin"]]).toEqual([304, "*"]);
  });
});
