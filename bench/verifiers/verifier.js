/**
 * Verifiers for Node.js, set up by their documentation. It answers each line with a token by `ok`, or by `no` and the
 * reason; a line `+SECONDS` advances the clock.
 */
import { createInterface } from "node:readline";
import { auth } from "express-oauth2-jwt-bearer";
import { createVerifier } from "fast-jwt";
import buildGetJwks from "get-jwks";
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from "jose";
import jwt from "jsonwebtoken";
import jwksRsa from "jwks-rsa";
import * as oauth from "oauth4webapi";
import * as openid from "openid-client";
import { createVerifier as createKitVerifier } from "../../dist/src/kit/verify/verify.js";

const { ISSUER: issuer, JWKS_URL: jwksUrl } = process.env;
const audience = "api";
const algorithms = ["RS256"];

function jose(url, options) {
  const keys = createRemoteJWKSet(new URL(url), options);
  return (token) => jwtVerify(token, keys, { issuer, audience, algorithms });
}

function jsonwebtoken(options) {
  const client = jwksRsa({ jwksUri: jwksUrl, ...options });
  const keyOf = ({ kid }, done) =>
    client.getSigningKey(kid).then(
      (key) => done(null, key.getPublicKey()),
      (error) => done(error),
    );
  return (token) =>
    new Promise((resolve, reject) =>
      jwt.verify(token, keyOf, { issuer, audience, algorithms }, (error) =>
        error ? reject(error) : resolve(),
      ),
    );
}

function fastJwt(options) {
  const keys = buildGetJwks(options);
  const key = ({ header: { kid, alg } }) =>
    keys.getPublicKey({ kid, alg, domain: new URL(jwksUrl).origin });
  return createVerifier({ key, allowedIss: issuer, allowedAud: audience, algorithms });
}

/** Calls the middleware without Express: it is a function. */
function bearer(options) {
  const middleware = auth({ audience, tokenSigningAlg: "RS256", ...options });
  return (token) =>
    new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${token}`, host: "api.example" };
      const request = {
        ...{ headers, url: "/", originalUrl: "/", protocol: "https", method: "GET" },
        ...{ query: {}, body: {}, is: () => false, get: (name) => headers[name.toLowerCase()] },
      };
      middleware(request, {}, (error) => (error ? reject(error) : resolve()));
    });
}

async function oauth4webapi(discovers) {
  const options = { [oauth.allowInsecureRequests]: true };
  let server = { issuer, jwks_uri: jwksUrl };
  if (discovers) {
    const found = await oauth.discoveryRequest(new URL(issuer), {
      algorithm: "oauth2",
      ...options,
    });
    server = await oauth.processDiscoveryResponse(new URL(issuer), found);
  }
  return (token) => {
    const headers = { authorization: `Bearer ${token}` };
    const request = new Request("https://api.example/", { headers });
    return oauth.validateJwtAccessToken(server, request, audience, options);
  };
}

/** A client library without a verifier of access tokens: jose verifies by the keys that it discovers. */
async function openidClient() {
  const execute = [openid.allowInsecureRequests];
  const found = await openid.discovery(new URL(issuer), "api", {}, openid.None(), { execute });
  return jose(found.serverMetadata().jwks_uri);
}

function kit() {
  const verifier = createKitVerifier({ issuer, jwksUrl, audience });
  return (token) => verifier.verify(token);
}

const libraries = {
  "Latchkey's kit": () => kit(),
  jose: () => jose(jwksUrl),
  "jose set": () => jose(jwksUrl, { cacheMaxAge: 300_000, cooldownDuration: 5000 }),
  "jsonwebtoken, jwks-rsa": () => jsonwebtoken({}),
  "jsonwebtoken, jwks-rsa set": () =>
    jsonwebtoken({ cacheMaxAge: 300_000, jwksRequestsPerMinute: 10, rateLimit: true }),
  "fast-jwt, get-jwks": () => fastJwt({}),
  "fast-jwt, get-jwks set": () => fastJwt({ ttl: 300_000 }),
  "express-oauth2-jwt-bearer": () => bearer({ issuer, jwksUri: jwksUrl }),
  "express-oauth2-jwt-bearer set": () =>
    bearer({ issuer, jwksUri: jwksUrl, cacheMaxAge: 300_000, cooldownDuration: 5000 }),
  "express-oauth2-jwt-bearer, discovery": () => bearer({ issuerBaseURL: issuer }),
  oauth4webapi: () => oauth4webapi(false),
  "oauth4webapi, discovery": () => oauth4webapi(true),
  "openid-client, metadata": openidClient,
};

const verifier = Promise.resolve(libraries[process.argv[2]]());
verifier.catch(() => undefined);
for await (const line of createInterface({ input: process.stdin })) {
  if (line.startsWith("+")) {
    // Runs the timers that are due first.
    await new Promise((resolve) => setTimeout(resolve, 1));
    console.log("ok");
    continue;
  }
  try {
    decodeProtectedHeader(line);
    const verify = await verifier;
    await verify(line);
    console.log("ok");
  } catch (error) {
    console.log(`no ${String(error.message).replaceAll("\n", " ")}`);
  }
}
