/** `/`, as load balancers and people ask for it. */
import { connect } from "node:http2";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { createHttpClient, type HttpClient } from "../support/http.js";
import { fetchHttp2, openSocket } from "../support/listener.js";
import { startService, type RunningService } from "../support/service.js";

let service: RunningService;
let client: HttpClient;
beforeAll(async () => {
  service = await startService({ TOKEN_ISSUER: "https://auth.example" });
  client = createHttpClient(service.url);
});
afterAll(async () => {
  client.close();
  await service.close();
});

test.each([
  ["GET", "/", 200],
  ["HEAD", "/", 200],
  ["OPTIONS", "/", 200],
  ["OPTIONS", "*", 200],
  ["GET", "/?probe=1", 200],
  ["POST", "/", 405],
])("%s %s is answered %d over HTTP/1.0, HTTP/1.1 and HTTP/2", async (method, path, status) => {
  const session = connect(service.url);
  const answer = await fetchHttp2(session, { ":method": method, ":path": path });
  session.destroy();
  expect(answer.status).toBe(status);
  for (const version of ["1.0", "1.1"]) {
    const { socket, closed } = openSocket(Number(new URL(service.url).port));
    const host = version === "1.1" ? "host: a\r\nconnection: close\r\n" : "";
    socket.write(`${method} ${path} HTTP/${version}\r\n${host}content-length: 0\r\n\r\n`);
    expect((await closed).toString()).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  }
});

test("says in words what this is, and where its documents are, each of which is there", async () => {
  const { headers, body } = await client.call("/", { method: "GET" });
  expect(headers["content-type"]).toBe("text/plain;charset=UTF-8");
  expect(body).toMatch(/^This is Latchkey/);
  const documents = body.match(/\/\.well-known\/\S+/g) ?? [];
  expect(documents).toContain("/.well-known/jwks.json");
  for (const path of documents) {
    expect((await client.call(path, { method: "GET" })).status).toBe(200);
  }
});

test.each([
  ["application/json", 404],
  ["application/problem+json, application/json", 404],
  ["application/json, text/plain, */*", 200],
  ["text/html", 200],
  ["*/*", 200],
])("who accepts %s gets %d", async (accept, status) => {
  const reply = await client.call("/", { method: "GET", headers: { accept } });
  expect(reply.status).toBe(status);
  if (status === 404) expect(JSON.parse(reply.body)).toEqual({ error: "Not Found" });
});
