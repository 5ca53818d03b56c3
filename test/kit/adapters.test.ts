/** The kit within the frameworks that services are made of, on real servers and clients. */
import {
  createServer,
  request,
  type IncomingMessage,
  type RequestListener,
  type Server,
} from "node:http";
import type { AddressInfo } from "node:net";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { connectNodeAdapter, createConnectTransport } from "@connectrpc/connect-node";
import * as grpc from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import express from "express";
import fastify from "fastify";
import { Health } from "../../gen/grpc/health/v1/health_pb.js";
import { createTokenSource, type TokenSource } from "../../src/kit/client/client.js";
import { startLatchkey, type TestLatchkey } from "../../src/kit/testing/testing.js";
import { claimsKey, createVerifyInterceptor } from "../../src/kit/verify/connect.js";
import {
  claimsOf,
  createVerifier,
  TokenRefused,
  type Verifier,
} from "../../src/kit/verify/verify.js";

const ann = { username: "ann", password: "correct horse battery", roles: ["admin"] };
const users = [ann, { username: "bob", password: "another horse battery" }];
let latchkey: TestLatchkey;
let verifier: Verifier;
let source: TokenSource;
const closing: (() => unknown)[] = [];

beforeAll(async () => {
  latchkey = await startLatchkey({ users });
  const { issuer, jwksUrl, url } = latchkey;
  verifier = createVerifier({ issuer, jwksUrl, now: () => latchkey.now() });
  source = createTokenSource({ baseUrl: url, credentials: ann });
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});
afterAll(async () => {
  await source.close();
  await latchkey.stop();
});

async function serve(listener: RequestListener): Promise<string> {
  const server = await new Promise<Server>((resolve) => {
    const created = createServer(listener).listen(0, "127.0.0.1", () => resolve(created));
  });
  closing.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

type Start = (options?: { roles?: string[] }) => Promise<string>;
const frameworks: Readonly<Record<string, Start>> = {
  "node:http": (options) => {
    const demand = verifier.middleware(options);
    return serve((request, response) => {
      void demand(request, response, () => response.end(claimsOf(request).sub));
    });
  },
  express: (options) => {
    const app = express();
    app.use(verifier.middleware(options));
    app.get("/", (request, response) => void response.send(claimsOf(request).sub));
    return serve(app as RequestListener);
  },
  fastify: async (options) => {
    const app = fastify();
    app.addHook("onRequest", verifier.fastifyHook(options));
    app.get("/", (request) => claimsOf(request).sub);
    closing.push(() => app.close());
    return app.listen({ port: 0, host: "127.0.0.1" });
  },
};

describe.each(Object.entries(frameworks))("%s", (_, start) => {
  const get = (url: string, authorization?: string) =>
    fetch(url, authorization === undefined ? {} : { headers: { authorization } });

  test("passes a good token, and the handler has its claims", async () => {
    const response = await get(await start(), `bearer ${await latchkey.tokenOf("ann")}`);
    expect([response.status, await response.text()]).toEqual([200, "1"]);
  });

  test("asks for a token where there is none", async () => {
    const url = await start();
    for (const authorization of [undefined, "Basic YTpi", "Bearer", "Bearer a b"]) {
      const response = await get(url, authorization);
      expect(response.status).toBe(401);
      expect(response.headers.get("www-authenticate")).toBe("Bearer");
      expect(await response.text()).toBe("");
    }
  });

  test("refuses a bad token", async () => {
    const url = await start();
    const { tokens } = latchkey;
    for (const token of await Promise.all([tokens.expired(), tokens.forged(), tokens.foreign()])) {
      const response = await get(url, `Bearer ${token}`);
      expect(response.status).toBe(401);
      expect(response.headers.get("www-authenticate")).toBe('Bearer error="invalid_token"');
    }
  });

  test("refuses before the body is sent", async () => {
    const url = await start();
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers = { authorization: "Bearer a.b.c", "content-length": "1000000" };
      request(url, { method: "POST", headers }, resolve).once("error", reject).flushHeaders();
    });
    expect(response.statusCode).toBe(401);
    response.destroy();
  });

  test("tells who lacks the role from who has no token", async () => {
    const url = await start({ roles: ["admin", "owner"] });
    const response = await get(url, `Bearer ${await latchkey.tokenOf("bob")}`);
    expect(response.status).toBe(403);
    expect(response.headers.get("www-authenticate")).toBe('Bearer error="insufficient_scope"');
    expect((await get(url, `Bearer ${await latchkey.tokenOf("ann")}`)).status).toBe(200);
  });

  test("says that it cannot tell while the keys are away", async () => {
    const { issuer } = latchkey;
    const before = verifier;
    verifier = createVerifier({ issuer, jwksUrl: "http://127.0.0.1:1/jwks" });
    const url = await start().finally(() => (verifier = before));
    const response = await get(url, `Bearer ${await latchkey.tokenOf("ann")}`);
    expect([response.status, response.headers.get("retry-after")]).toEqual([503, "5"]);
  });
});

describe("Connect", () => {
  async function start(options?: { roles?: string[] }) {
    const seen: (string | undefined)[] = [];
    const url = await serve(
      connectNodeAdapter({
        interceptors: [createVerifyInterceptor(verifier, options)],
        routes: (router) =>
          router.rpc(Health.method.check, (_request, { values }) => {
            seen.push(values.get(claimsKey)?.sub);
            return {};
          }),
      }),
    );
    const client = (authorization?: string) =>
      createClient(
        Health,
        createConnectTransport({
          ...{ baseUrl: url, httpVersion: "1.1" },
          interceptors: authorization === undefined ? [source.interceptor()] : [],
        }),
      ).check({}, { headers: authorization ? { authorization } : {} });
    return { client, seen };
  }
  const codeOf = (call: Promise<unknown>) =>
    call.then(
      () => "ok",
      (error: unknown) => Code[ConnectError.from(error).code],
    );

  test("the client's interceptor sends the token, the server's has its claims", async () => {
    const { client, seen } = await start();
    await client();
    expect(seen).toEqual(["1"]);
  });

  test("tells the codes apart", async () => {
    const { client } = await start({ roles: ["admin"] });
    expect(await codeOf(client("Basic x"))).toBe("Unauthenticated");
    expect(await codeOf(client(`Bearer ${await latchkey.tokens.forged()}`))).toBe(
      "Unauthenticated",
    );
    expect(await codeOf(client(`Bearer ${await latchkey.tokenOf("bob")}`))).toBe(
      "PermissionDenied",
    );
    expect(await codeOf(client())).toBe("ok");
  });

  test("after unauthenticated a call is made once more, with another token", async () => {
    const tokens: string[] = [];
    const strict: Pick<Verifier, "verify"> = {
      verify(token) {
        tokens.push(token);
        if (tokens.length === 1) return Promise.reject(new TokenRefused("revoked"));
        return verifier.verify(token);
      },
    };
    const before = verifier;
    verifier = strict as Verifier;
    const { client } = await start().finally(() => (verifier = before));
    // A renewal in the same second would be the same token, but for its id.
    await client();
    expect(new Set(tokens).size).toBe(2);
  });
});

describe("fetch", () => {
  test("sends the token, and once more with another after a 401", async () => {
    const seen: (string | undefined)[] = [];
    const url = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.statusCode = seen.length === 1 ? 401 : 200;
      request.pipe(response);
    });
    const own = createTokenSource({ baseUrl: latchkey.url, credentials: ann });
    closing.push(() => own.close());
    const response = await own.fetch(url, { method: "POST", body: "hello" });
    expect([response.status, await response.text()]).toEqual([200, "hello"]);
    expect(seen).toHaveLength(2);
    expect(new Set(seen).size).toBe(2);
  });

  test("a body that can be sent once is", async () => {
    let count = 0;
    const url = await serve((request, response) => {
      count++;
      response.statusCode = 401;
      request.resume().once("end", () => response.end());
    });
    const body = new Blob(["hello"]).stream();
    const response = await source.fetch(url, { method: "POST", body, duplex: "half" } as object);
    expect([response.status, count]).toEqual([401, 1]);
  });
});

test("grpc-js sends the token by call credentials", async () => {
  const server = new grpc.Server();
  const seen: unknown[] = [];
  const serialize = (value: Buffer) => value;
  const method = {
    ...{ path: "/test.Echo/Call", requestStream: false, responseStream: false },
    ...{ requestSerialize: serialize, requestDeserialize: serialize },
    ...{ responseSerialize: serialize, responseDeserialize: serialize },
  };
  server.addService(
    { call: method },
    {
      call: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
        seen.push(...call.metadata.get("authorization"));
        done(null, call.request);
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    const credentials = grpc.ServerCredentials.createInsecure();
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  closing.push(() => server.forceShutdown());
  const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  closing.push(() => client.close());
  // Channels without TLS take no call credentials, so their metadata is made by hand here.
  const credentials: grpc.CallCredentials = source.callCredentials(grpc);
  const metadata = await credentials.generateMetadata({
    ...{ service_url: "https://orders.example/test.Echo", method_name: "Call" },
  });
  await new Promise((resolve, reject) => {
    const done = (error: Error | null, value?: Buffer) => (error ? reject(error) : resolve(value));
    client.makeUnaryRequest(method.path, serialize, serialize, Buffer.of(), metadata, done);
  });
  expect(seen).toEqual([`Bearer ${await source.token()}`]);
});

test("what a test double can do is what the server does", async () => {
  const token = await latchkey.tokenOf("bob");
  expect((await verifier.verify(token)).roles).toEqual([]);
  latchkey.outage(true);
  await expect(fetch(latchkey.jwksUrl)).rejects.toThrow();
  latchkey.outage(false);
  expect((await fetch(latchkey.jwksUrl)).status).toBe(200);
  const discovery = await fetch(`${latchkey.issuer}/.well-known/openid-configuration`);
  expect(((await discovery.json()) as { jwks_uri: string }).jwks_uri).toBe(latchkey.jwksUrl);
  await expect(latchkey.tokenOf("ghost")).rejects.toThrow('there is no user "ghost"');
  await latchkey.disable("bob");
  await expect(latchkey.tokenOf("bob")).rejects.toThrow();
  await latchkey.disable("bob", false);
  await latchkey.tokenOf("bob");
});
