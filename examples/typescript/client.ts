/** Logs in to Latchkey, renews the token, and verifies it with the published key set. */
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { AuthService } from "@latchkey-auth/latchkey/auth/v1";

const {
  LATCHKEY_URL: baseUrl = "http://127.0.0.1:8080",
  LATCHKEY_JWKS_URL: keySetUrl = `${baseUrl}/.well-known/jwks.json`,
  LATCHKEY_USERNAME: username = "TestUser",
  LATCHKEY_PASSWORD: password = "password",
} = process.env;

const transport = createConnectTransport({ baseUrl, httpVersion: "1.1", defaultTimeoutMs: 10_000 });
const client = createClient(AuthService, transport);
const login = await client.login({ username, password });

const headers = { authorization: `Bearer ${login.accessToken}` };
const { accessToken } = await client.issueToken({}, { headers });

// Create it once per process. It caches the keys, by default for ten minutes.
const keys = createRemoteJWKSet(new URL(keySetUrl), { cacheMaxAge: 300_000 });
const { payload } = await jwtVerify(accessToken, keys, {
  algorithms: ["RS256"],
  issuer: "NomicGameManager.Api",
  requiredClaims: ["sub", "exp"],
  clockTolerance: 10,
});
const until = new Date((payload.exp ?? 0) * 1000).toISOString();
process.stdout.write(`subject ${payload.sub ?? ""}, until ${until}\n`);
