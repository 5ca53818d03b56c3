import { createHmac, sign } from "node:crypto";
import { describe, expect, test } from "@jest/globals";
import { decodeProtectedHeader, jwtVerify, SignJWT } from "jose";
import { createTokens, type TokenPolicy } from "../../src/auth/tokens.js";
import type { User } from "../../src/auth/users.js";
import { keySetOf, newKey, type TestKey } from "../support/keys.js";

const now = 1_700_000_000;
const clock = { now: () => now * 1000 + 999 };
const current = newKey("current");
const previous = newKey("previous");
const oldServer = newKey("old", { legacy: true });
const foreignIssuer = newKey("foreign", { legacy: true, issuer: "https://old.example" });
const keys = keySetOf(current, previous, oldServer, foreignIssuer);

const policy: TokenPolicy = {
  type: "JWT",
  issuer: "NomicGameManager.Api",
  audience: undefined,
  ttlSeconds: 7200,
  leewaySeconds: 10,
  maxSessionSeconds: 86_400,
};
const tokens = createTokens(policy, keys, clock);
const user: User = {
  id: { type: "int", value: "1" },
  username: "TestUser",
  passwordHash: undefined,
  disabled: false,
  roles: [],
  tokensValidAfter: undefined,
};

describe("issue", () => {
  test("header and claims have the documented members in the documented order", async () => {
    const { accessToken, expiresAtSeconds } = await tokens.issue(user);
    const [header, claims] = accessToken
      .split(".")
      .map((part) => Buffer.from(part, "base64url").toString());
    expect(header).toBe('{"typ":"JWT","alg":"RS256","kid":"current"}');
    expect(claims).toMatch(
      /^\{"sub":"1","iss":"NomicGameManager.Api","exp":1700007200,"iat":1700000000,"jti":"[0-9a-f-]{36}","auth_time":1700000000\}$/,
    );
    expect(expiresAtSeconds).toBe(now + 7200);
  });

  test("as an access token of RFC 9068: its typ, and client_id", async () => {
    const typed = createTokens({ ...policy, type: "at+jwt", audience: "api" }, keys, clock);
    const { accessToken } = await typed.issue(user);
    const [header, claims] = accessToken
      .split(".")
      .map((part) => Buffer.from(part, "base64url").toString());
    expect(header).toBe('{"typ":"at+jwt","alg":"RS256","kid":"current"}');
    expect(claims).toMatch(/,"aud":"api","client_id":"NomicGameManager.Api"\}$/);
    // While replicas are restarted some issue the one and some the other.
    const untyped = createTokens({ ...policy, audience: "api" }, keys, clock);
    expect(await untyped.verify(accessToken)).toMatchObject({ subject: "1" });
    const { accessToken: old } = await untyped.issue(user);
    expect(await typed.verify(old)).toMatchObject({ subject: "1" });
  });

  test("jose verifies it, with audience and roles where there are any", async () => {
    const configured = createTokens({ ...policy, audience: "api" }, keys, clock);
    const { accessToken } = await configured.issue({ ...user, roles: ["a", "b"] }, now - 60);
    const { payload } = await jwtVerify(accessToken, current.publicKey, {
      algorithms: ["RS256"],
      audience: "api",
      issuer: policy.issuer,
      currentDate: new Date(now * 1000),
    });
    expect(Object.keys(payload).slice(-3)).toEqual(["auth_time", "aud", "roles"]);
    expect(payload).toMatchObject({ auth_time: now - 60, roles: ["a", "b"] });
    expect(decodeProtectedHeader(accessToken).kid).toBe("current");
  });

  test("many that are due at once are each signed", async () => {
    const issued = await Promise.all(Array.from({ length: 50 }, () => tokens.issue(user)));
    const verified = await Promise.all(
      issued.map(({ accessToken }) =>
        jwtVerify(accessToken, current.publicKey, { currentDate: new Date(now * 1000) }),
      ),
    );
    expect(new Set(verified.map(({ payload }) => payload.jti)).size).toBe(50);
  });
});

const claims = {
  sub: "1",
  iss: policy.issuer,
  exp: now + 7200,
  iat: now,
  jti: "id",
  auth_time: now,
};

/** A token made by jose, its parts as given. */
function make(
  changes: object = {},
  { key = current, header = {} }: { key?: TestKey; header?: object } = {},
): Promise<string> {
  return new SignJWT({ ...claims, ...changes })
    .setProtectedHeader({ typ: "JWT", alg: "RS256", kid: key.kid, ...header })
    .sign(key.privateKey);
}

/** A token of any form, rightly signed. */
function makeRaw(header: string, payload: string, { privateKey } = current): string {
  const input = [header, payload].map((part) => Buffer.from(part).toString("base64url")).join(".");
  return `${input}.${sign("RSA-SHA256", Buffer.from(input), privateKey).toString("base64url")}`;
}

const goodHeader = JSON.stringify({ typ: "JWT", alg: "RS256", kid: "current" });

describe("verify accepts", () => {
  test("a token of ours, by the current key and by one before it", async () => {
    const expected = { subject: "1", issuedAtSeconds: now, authTimeSeconds: now };
    expect(await tokens.verify(await make())).toEqual(expected);
    expect(await tokens.verify(await make({}, { key: previous }))).toEqual(expected);
  });

  test("within the leeway", async () => {
    expect(await tokens.verify(await make({ exp: now - 9 }))).toBeDefined();
    const early = await make({ nbf: now + 10, iat: now + 10, auth_time: now + 10 });
    expect(await tokens.verify(early)).toBeDefined();
  });

  test("an old server's token: no kid, jti, aud and auth_time", async () => {
    const bare = { jti: undefined, auth_time: undefined, iat: now - 60 };
    const withKid = await make(bare, { key: oldServer });
    const withoutKid = await make(bare, { key: oldServer, header: { kid: undefined } });
    const expected = { subject: "1", issuedAtSeconds: now - 60, authTimeSeconds: now - 60 };
    expect(await tokens.verify(withKid)).toEqual(expected);
    expect(await tokens.verify(withoutKid)).toEqual(expected);
    const configured = createTokens({ ...policy, audience: "api" }, keys, clock);
    expect(await configured.verify(withoutKid)).toEqual(expected);
  });

  test("a token of a legacy key limited to an issuer, from that issuer", async () => {
    const iss = "https://old.example";
    expect(await tokens.verify(await make({ iss }, { key: foreignIssuer }))).toBeDefined();
  });

  test("one key that is here twice, for our issuer and for another", async () => {
    const { privateKey, publicKey, kid } = oldServer;
    const iss = "https://old.example";
    const twice = keySetOf(oldServer, { kid, privateKey, publicKey, legacy: true, issuer: iss });
    const both = createTokens(policy, twice, clock);
    for (const changes of [{}, { iss }]) {
      const token = await make(changes, { key: oldServer, header: { kid: undefined } });
      expect(await both.verify(token)).toMatchObject({ subject: "1" });
    }
  });

  test("a list of audiences that holds ours", async () => {
    const configured = createTokens({ ...policy, audience: "api" }, keys, clock);
    expect(await configured.verify(await make({ aud: ["other", "api"] }))).toBeDefined();
  });
});

describe("verify refuses as invalid", () => {
  const unsigned = (alg: string) =>
    `${[{ alg, typ: "JWT" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".")}.`;
  const hmacWith = (secret: string | Buffer) => {
    const input = [{ alg: "HS256", typ: "JWT", kid: "current" }, claims]
      .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
      .join(".");
    return `${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`;
  };

  test.each<[string, () => string | Promise<string>]>([
    ["nothing", () => ""],
    ["two dots", () => ".."],
    ["two parts", async () => (await make()).split(".").slice(0, 2).join(".")],
    ["four parts", async () => `${await make()}.a`],
    ["alg none", () => unsigned("none")],
    [
      "an HMAC with the public key",
      () => hmacWith(current.publicKey.export({ type: "spki", format: "pem" })),
    ],
    ["PS256", () => makeRaw('{"typ":"JWT","alg":"PS256","kid":"current"}', JSON.stringify(claims))],
    ["another typ", () => make({}, { header: { typ: "id+jwt" } })],
    [
      "crit",
      () =>
        makeRaw(
          '{"typ":"JWT","alg":"RS256","kid":"current","crit":["b64"],"b64":true}',
          JSON.stringify(claims),
        ),
    ],
    ["an unknown kid", () => make({}, { header: { kid: "unknown" } })],
    ["a kid that is no string", () => makeRaw('{"alg":"RS256","kid":1}', JSON.stringify(claims))],
    ["our own key without kid", () => make({}, { header: { kid: undefined } })],
    ["another key under our kid", () => make({}, { key: previous, header: { kid: "current" } })],
    [
      "an embedded key",
      () => {
        const stranger = newKey("stranger");
        const jwk = stranger.publicKey.export({ format: "jwk" });
        return make({}, { key: stranger, header: { kid: undefined, jwk } });
      },
    ],
    [
      "a repeated claim",
      () => makeRaw(goodHeader, `{"sub":"2",${JSON.stringify(claims).slice(1)}`),
    ],
    ["a payload that is no object", () => makeRaw(goodHeader, "[]")],
    ["a payload that is no JSON", () => makeRaw(goodHeader, "a")],
    ["padding", async () => `${await make()}==`],
    [
      "bits left over in the signature",
      async () => {
        const token = await make();
        const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        const last = alphabet.indexOf(token.at(-1) ?? "");
        return token.slice(0, -1) + (alphabet[last + 1] ?? "");
      },
    ],
    [
      "one bit of the payload changed",
      async () => {
        const [header, payload = "", signature] = (await make()).split(".");
        const bytes = Buffer.from(payload, "base64url");
        bytes[10] = (bytes[10] ?? 0) ^ 1;
        return [header, bytes.toString("base64url"), signature].join(".");
      },
    ],
    ["more than 8 KiB", () => make({ pad: "a".repeat(8192) })],
    ["another issuer", () => make({ iss: "other" })],
    ["no issuer", () => make({ iss: undefined })],
    ["our issuer by a key limited to another", () => make({}, { key: foreignIssuer })],
    ["an audience where we have none", () => make({ aud: "api" })],
    ["no subject", () => make({ sub: undefined })],
    ["an empty subject", () => make({ sub: "" })],
    [
      "a subject that is a number",
      () => makeRaw(goodHeader, JSON.stringify({ ...claims, sub: 1 })),
    ],
    ["no exp", () => make({ exp: undefined })],
    [
      "an exp that is infinite",
      () => makeRaw(goodHeader, JSON.stringify(claims).replace(/"exp":\d+/, '"exp":1e999')),
    ],
    [
      "an exp that is a string",
      () => makeRaw(goodHeader, JSON.stringify({ ...claims, exp: "9999999999" })),
    ],
    ["no iat", () => make({ iat: undefined })],
    ["iat in the future", () => make({ iat: now + 11 })],
    ["nbf in the future", () => make({ nbf: now + 11 })],
    ["nbf in the future, by an old server", () => make({ nbf: now + 11 }, { key: oldServer })],
    ["nbf that is no number", () => make({ nbf: "1" as unknown as number }, { key: oldServer })],
    ["auth_time in the future", () => make({ auth_time: now + 11 })],
    ["no jti, by a key of ours", () => make({ jti: undefined })],
    ["no auth_time, by a key of ours", () => make({ auth_time: undefined })],
  ])("%s", async (_, token) => {
    const value = await token();
    await expect(tokens.verify(value)).rejects.toThrow(
      expect.objectContaining({ code: "token_invalid" }),
    );
  });

  test("another audience, and none", async () => {
    const configured = createTokens({ ...policy, audience: "api" }, keys, clock);
    for (const aud of ["other", ["other"], undefined, 1]) {
      const token = makeRaw(goodHeader, JSON.stringify({ ...claims, aud }));
      await expect(configured.verify(token)).rejects.toThrow(
        expect.objectContaining({ code: "token_invalid" }),
      );
    }
  });
});

describe("verify refuses as expired", () => {
  test.each([
    ["a token past exp and leeway", { exp: now - 10 }],
    ["a token of a session that is too old", { auth_time: now - 86_400 }],
  ])("%s", async (_, changes) => {
    const token = await make(changes);
    await expect(tokens.verify(token)).rejects.toThrow(
      expect.objectContaining({ code: "token_expired" }),
    );
  });
});
