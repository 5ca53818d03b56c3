/** Where the old server leads: its answers byte for byte, and what the client gets where there is none. */
import { request as httpRequest } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { AuthError } from "../../src/auth/errors.js";
import type { Store } from "../../src/store/store.js";
import { createHttpClient, basic, type HttpClient, type Reply } from "../support/http.js";
import type { OldFault } from "../support/old-server.js";
import { loginPath, tokenIn, tokenPath, useOldServer, type Front } from "../support/takeover.js";

const user = { id: "1", username: "TestUser", password: "password" };
const right = { headers: { authorization: basic(user.username, user.password) } };
const pair = JSON.stringify({ username: user.username, password: user.password });
const rightLogin = { headers: { "content-type": "application/json" }, body: pair };

const place = useOldServer({ users: [user], tls: true });
let service: Front;
let theirs: HttpClient;

beforeAll(async () => {
  service = await place.start({ UPSTREAM_TIMEOUT: "500ms" });
  theirs = createHttpClient(place.old.url, place.old.ca);
});
afterAll(() => theirs.close());

const ofTheConnection = [
  ...["date", "connection", "keep-alive", "transfer-encoding", "x-request-id"],
];

/** What a client sees, but for what differs from call to call and the headers of the connection. */
function visible({ status, headers, body }: Reply) {
  const rest = Object.fromEntries(
    Object.entries(headers).filter(([name]) => !ofTheConnection.includes(name)),
  );
  const masked = body
    .replace(/eyJ[\w.-]+/, "<jwt>")
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+/, "<time>")
    .replace(/\w+, \d\d \d{4} [\d:]+/, "<time>");
  return { status, headers: rest, body: masked };
}

describe("each answer of the old server's is passed on as it is", () => {
  test.each([
    ["Basic", tokenPath, right],
    ["a wrong password", tokenPath, { headers: { authorization: basic("TestUser", "x") } }],
    ["nothing", tokenPath, {}],
    ["an unknown scheme", tokenPath, { headers: { authorization: "Digest a" } }],
    ["GET", tokenPath, { method: "GET" }],
    ["HEAD", tokenPath, { method: "HEAD" }],
    ["DELETE with a query", `${tokenPath}?a=b?c`, { method: "DELETE" }],
    ["a login", loginPath, rightLogin],
    ["a wrong login", loginPath, { body: '{"username":"TestUser","password":"x"}' }],
    ["a login without a password", loginPath, { body: '{"username":"TestUser"}' }],
    ["what is not JSON", loginPath, { body: "a=b" }],
    ["PUT", loginPath, { method: "PUT", body: pair }],
  ])("%s", async (_, path, call) => {
    place.old.extraHeaders = { "Set-Cookie": ["a=1", "b=2"], "X-Old": "é", Server: "old" };
    const [old, through] = [await theirs.call(path, call), await service.client.call(path, call)];
    expect(visible(through)).toEqual(visible(old));
    const [direct, forwarded] = place.old.requests.map(({ method, url, body }) => [
      method,
      url,
      body,
    ]);
    expect(forwarded).toEqual(direct);
  });

  test.each<[OldFault, number]>([
    ["status 500", 500],
    ["html", 200],
    ["redirect", 302],
    ["foreign token", 200],
    ["no token", 200],
  ])("%s too", async (fault, status) => {
    place.old.fault = fault;
    const [old, through] = [
      await theirs.call(tokenPath, right),
      await service.client.call(tokenPath, right),
    ];
    const length = { "content-length": expect.any(String) as unknown };
    const { headers, ...rest } = visible(old);
    expect(visible(through)).toEqual({ ...rest, headers: { ...headers, ...length } });
    expect(through.status).toBe(status);
  });

  test("the reason phrase as well", async () => {
    const reason = await new Promise((resolve, reject) => {
      httpRequest(service.url + tokenPath, { method: "POST", ...right }, (res) => {
        resolve(res.statusMessage);
        res.resume();
      })
        .once("error", reject)
        .end();
    });
    expect(reason).toBe("CREATED");
  });
});

test("the request arrives whole, without what is of one hop, and with the client's address", async () => {
  const headers = [
    ...["Host", "auth.example", "Content-Length", String(pair.length)],
    ...["Connection", "close, X-Hop", "X-Hop", "1", "TE", "trailers", "X-Two", "a", "X-Two", "b"],
    ...["Proxy-Authorization", "Basic x", "X-Forwarded-For", "192.0.2.7"],
    ...["Content-Type", "application/json", "Cookie", "c=1"],
  ];
  await service.client.call(`${loginPath}?q=1`, { headers, body: pair });
  const [request] = place.old.requests;
  expect(request?.url).toBe(`${loginPath}?q=1`);
  expect(request?.body).toBe(pair);
  expect(request?.headers).toMatchObject({
    ...{ "x-two": "a, b", cookie: "c=1", "x-forwarded-for": "192.0.2.7, 127.0.0.1" },
    host: new URL(place.old.url).host,
  });
  for (const name of ["x-hop", "te", "proxy-authorization", "via"]) {
    expect(request?.headers).not.toHaveProperty(name);
  }
});

describe("no whole answer in time is store_unavailable of that path", () => {
  test.each<OldFault>([
    ...(["hanging", "half an answer", "reset", "flood", "certificate expired"] as const),
    "certificate of a foreign authority",
  ])("%s", async (fault) => {
    place.old.fault = fault;
    const token = await service.client.call(tokenPath, right);
    expect([token.status, JSON.parse(token.body)]).toMatchObject([500, { path: tokenPath }]);
    expect(token.headers).toHaveProperty("retry-after");
    const login = await service.client.call(loginPath, rightLogin);
    expect([login.status, JSON.parse(login.body)]).toMatchObject([
      ...[503, { messages: ["Service Unavailable"] }],
    ]);
    expect(login.headers).toHaveProperty("retry-after");
  });

  test("the old server is not there, and is spared until it is back", async () => {
    await place.old.stop();
    for (let count = 0; count < 8; count++) {
      expect((await service.client.call(tokenPath, right)).status).toBe(500);
    }
    await place.old.start();
    await service.untilUp();
  });

  test("the limits of requests hold as ever", async () => {
    expect((await service.client.call(loginPath, { body: "a".repeat(65_537) })).status).toBe(413);
    expect(place.old.requests).toEqual([]);
  });
});

/** A store that does not answer. */
function lostStore(store: Store): Store {
  const fail = () => Promise.reject(new AuthError("store_unavailable", "lost"));
  const lost = <T extends object>(port: T): T =>
    new Proxy(port, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value === "function") return fail;
        return typeof value === "object" && value !== null ? lost(value) : value;
      },
    });
  return lost(store);
}

test("the store may be down: clients notice nothing", async () => {
  const lost = await place.start({}, [], { store: lostStore(service.store) });
  const reply = await lost.login(user.username, user.password);
  expect(reply.status).toBe(200);
  expect((await lost.renew(tokenIn(reply))).status).toBe(200);
  expect((await lost.loginByJson("a", "b")).status).toBe(401);
}, 60_000);
