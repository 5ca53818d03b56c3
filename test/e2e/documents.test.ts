/** What verifiers find: the key set and, where the issuer is a URL, the metadata that leads to it. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "@jest/globals";
import { createRemoteJWKSet, decodeJwt, jwtVerify } from "jose";
import { basic, createHttpClient, type HttpClient } from "../support/http.js";
import { startMongoServer } from "../support/mongo.js";
import { eventually } from "../support/server-process.js";
import { startService, type RunningService } from "../support/service.js";

const keySetPath = "/.well-known/jwks.json";
const openidPath = "/.well-known/openid-configuration";
const oauthPath = "/.well-known/oauth-authorization-server";

let service: RunningService;
let client: HttpClient;
async function start(issuer?: string): Promise<void> {
  service = await startService(issuer === undefined ? {} : { TOKEN_ISSUER: issuer });
  client = createHttpClient(service.url);
}
afterEach(async () => {
  client.close();
  await service.close();
});

const get = (path: string, headers = {}) => client.call(path, { method: "GET", headers });
const statuses = (paths: string[]) =>
  Promise.all(paths.map(async (path) => (await get(path)).status));

test.each([
  ["https://auth.example", "", "https://auth.example"],
  ["https://auth.example/", "", "https://auth.example"],
  ["https://auth.example:8443/tenant/a", "/tenant/a", "https://auth.example:8443/tenant/a"],
  ["https://AUTH.example/Tenant/", "/Tenant", "https://AUTH.example/Tenant"],
])("the issuer %s", async (issuer, path, base) => {
  await start(issuer);
  const paths = [openidPath, path + openidPath, oauthPath, oauthPath + path];
  const replies = await Promise.all(paths.map((each) => get(each)));
  for (const { status, headers, body } of replies) {
    expect([status, headers["content-type"]]).toEqual([200, "application/json"]);
    expect(headers["cache-control"]).toBe("public, max-age=3600");
    expect(JSON.parse(body)).toEqual({
      issuer,
      jwks_uri: base + keySetPath,
      response_types_supported: ["none"],
      subject_types_supported: ["public"],
      id_token_signing_alg_values_supported: ["RS256"],
    });
    expect(body.startsWith(`{"issuer":"${issuer}",`)).toBe(true);
  }
  // Where a proxy keeps the issuer's path, and where it takes it away.
  expect(await statuses([keySetPath, path + keySetPath])).toEqual([200, 200]);
});

test("every endpoint that is advertised is served, and verifies a token from the issuer on", async () => {
  await start("https://auth.example/tenant");
  const metadata = JSON.parse((await get(`/tenant${openidPath}`)).body) as Record<string, unknown>;
  const advertised = Object.entries(metadata).filter(([name]) => /_(uri|endpoint)$/.test(name));
  expect(advertised.map(([name]) => name)).toEqual(["jwks_uri"]);
  const { pathname } = new URL(String(metadata["jwks_uri"]));
  const authorization = basic("TestUser", "password");
  const reply = await client.call("/api/auth/token", { headers: { authorization } });
  const { token } = JSON.parse(reply.body) as { token: string };
  const keySet = createRemoteJWKSet(new URL(pathname, service.url));
  await jwtVerify(token, keySet, { issuer: String(metadata["issuer"]), algorithms: ["RS256"] });
  expect(decodeJwt(token).iss).toBe(metadata["issuer"]);
});

test.each([
  undefined,
  "https://",
  "https://auth.example?tenant=a",
  "https://auth.example/#a",
  "HTTPS://auth.example",
  " https://auth.example",
  "https://auth.example/ ",
  "urn:auth",
])("the issuer %s has no metadata", async (issuer) => {
  await start(issuer);
  expect(await statuses([openidPath, oauthPath, keySetPath])).toEqual([404, 404, 200]);
});

test("with MongoDB down the last known ones are served, and before any are known only the metadata", async () => {
  const mongo = await startMongoServer();
  const issuer = "https://auth.example";
  // Both ends of the test need a service to close.
  if (mongo === undefined) return start(issuer);
  service = await startService({ MONGODB_URI: mongo.uri("documents"), TOKEN_ISSUER: issuer });
  client = createHttpClient(service.url);
  try {
    const paths = [keySetPath, openidPath, oauthPath];
    const bodies = () => Promise.all(paths.map(async (path) => (await get(path)).body));
    const known = await eventually(bodies, ([keySet]) => keySet?.split('"kid"').length === 3);
    await mongo.stop();
    for (let second = 0; second < 4; second++) {
      expect(await bodies()).toEqual(known);
      expect(await statuses(paths)).toEqual([200, 200, 200]);
      await sleep(1000);
    }
    const { headers } = await get(keySetPath);
    const conditional = await get(keySetPath, { "if-none-match": headers.etag });
    expect(conditional.status).toBe(304);

    const env = { MONGODB_URI: mongo.uri("documents"), TOKEN_ISSUER: issuer };
    const late = await startService(env, []);
    const replies = await Promise.all(paths.map((path) => fetch(late.url + path)));
    expect(replies.map(({ status }) => status)).toEqual([503, 200, 200]);
    expect(replies[0]?.headers.get("retry-after")).toMatch(/^\d+$/);
    await late.close();
  } finally {
    await mongo.dispose();
  }
});

describe("the key set and the metadata", () => {
  test.each([keySetPath, openidPath, oauthPath])("%s is validated by its tag", async (path) => {
    await start("https://auth.example");
    const { headers, body } = await get(path);
    const { etag = "" } = headers;
    expect(etag).toMatch(/^"[\w-]{43}"$/);
    expect(headers["cache-control"]).toMatch(/^public, max-age=[1-9]\d*/);

    const head = await client.call(path, { method: "HEAD" });
    expect([head.status, head.body]).toEqual([200, ""]);
    for (const name of ["content-type", "content-length", "etag", "cache-control"]) {
      expect(head.headers[name]).toBe(headers[name]);
    }
    expect(Number(head.headers["content-length"])).toBe(Buffer.byteLength(body));

    for (const condition of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
      for (const method of ["GET", "HEAD"]) {
        const reply = await client.call(path, { method, headers: { "if-none-match": condition } });
        expect([reply.status, reply.body, reply.headers.etag]).toEqual([304, "", etag]);
        expect(reply.headers["cache-control"]).toBe(headers["cache-control"]);
        expect(reply.headers).not.toHaveProperty("content-length");
      }
    }
    expect((await get(path, { "if-none-match": '"other"' })).body).toBe(body);
    expect((await client.call(path)).status).toBe(405);
  });

  test("the key set has public parts only, and may be used while we do not answer", async () => {
    await start();
    const { headers, body } = await get(keySetPath);
    expect(headers["content-type"]).toBe("application/jwk-set+json");
    expect(headers["cache-control"]).toBe("public, max-age=300, stale-if-error=3600");
    for (const key of (JSON.parse(body) as { keys: object[] }).keys) {
      expect(Object.keys(key)).toEqual(["kty", "use", "alg", "kid", "n", "e"]);
    }
  });
});
