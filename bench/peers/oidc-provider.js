import { createPrivateKey } from "node:crypto";
import { createServer } from "node:http";
import Provider from "oidc-provider";
import { listening, pem } from "./work.js";

const audience = "urn:bench";
const provider = new Provider("http://127.0.0.1", {
  clients: [
    {
      client_id: "bench",
      client_secret: "bench",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: "client_secret_post",
    },
  ],
  jwks: {
    keys: [{ ...createPrivateKey(pem).export({ format: "jwk" }), use: "sig", alg: "RS256" }],
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      getResourceServerInfo: () => ({
        scope: "api",
        audience,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
});
const server = createServer(provider.callback());
server.listen(0, "127.0.0.1", () => listening(server.address().port));
