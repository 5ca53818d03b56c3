import { createServer } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { jwtVerify, SignJWT } from "jose";
import { Code, ConnectError } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { AuthService } from "../../dist/gen/auth/v1/auth_pb.js";
import { issuer, listening, pem, renew } from "./work.js";

const privateKey = createPrivateKey(pem);
const publicKey = createPublicKey(pem);

const handler = connectNodeAdapter({
  routes: (router) =>
    router.service(AuthService, {
      async issueToken(_, { requestHeader }) {
        try {
          const token = requestHeader.get("authorization").slice("Bearer ".length);
          const { payload } = await jwtVerify(token, publicKey, { issuer, algorithms: ["RS256"] });
          const claims = renew(payload);
          const accessToken = await new SignJWT(claims)
            .setProtectedHeader({ typ: "JWT", alg: "RS256", kid: "k" })
            .sign(privateKey);
          return { accessToken, expireTime: { seconds: BigInt(claims.exp), nanos: 0 } };
        } catch {
          throw new ConnectError("refused", Code.Unauthenticated);
        }
      },
    }),
});
const server = process.env.BENCH_HTTP2 ? createHttp2Server(handler) : createServer(handler);
server.listen(0, "127.0.0.1", () => listening(server.address().port));
