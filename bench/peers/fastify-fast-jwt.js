import { createPublicKey } from "node:crypto";
import { createSigner, createVerifier } from "fast-jwt";
import fastify from "fastify";
import { issuer, listening, pem, renew } from "./work.js";

const publicPem = createPublicKey(pem).export({ type: "spki", format: "pem" });
const sign = createSigner({ key: pem, algorithm: "RS256", kid: "k", noTimestamp: true });
const verify = createVerifier({ key: publicPem, algorithms: ["RS256"], allowedIss: issuer });

const app = fastify();
app.post("/api/auth/token", async (request, reply) => {
  try {
    const claims = verify(request.headers.authorization.slice("Bearer ".length));
    return { isSuccess: true, token: sign(renew(claims)) };
  } catch {
    return reply.code(403).send();
  }
});
await app.listen({ port: 0, host: "127.0.0.1" });
listening(app.server.address().port);
