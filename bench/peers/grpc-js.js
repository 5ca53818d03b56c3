import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { promisify } from "node:util";
import { Server, ServerCredentials, status } from "@grpc/grpc-js";
import { fromBinary, toBinary, create } from "@bufbuild/protobuf";
import {
  AuthService,
  IssueTokenRequestSchema,
  IssueTokenResponseSchema,
} from "../../dist/gen/auth/v1/auth_pb.js";
import { listening, pem, renew } from "./work.js";

const privateKey = createPrivateKey(pem);
const publicKey = createPublicKey(pem);
const signAsync = promisify(sign);
const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const header = encode({ typ: "JWT", alg: "RS256", kid: "k" });

async function reissue(token) {
  const [head, claims, signature] = token.split(".");
  const signed = Buffer.from(`${head}.${claims}`);
  if (!verify("RSA-SHA256", signed, publicKey, Buffer.from(signature, "base64url")))
    throw new Error();
  const next = renew(JSON.parse(Buffer.from(claims, "base64url").toString()));
  const input = `${header}.${encode(next)}`;
  const bytes = await signAsync("RSA-SHA256", Buffer.from(input), privateKey);
  return { accessToken: `${input}.${bytes.toString("base64url")}`, exp: next.exp };
}

const server = new Server();
server.addService(
  {
    IssueToken: {
      path: `/${AuthService.typeName}/IssueToken`,
      requestStream: false,
      responseStream: false,
      requestSerialize: () => Buffer.alloc(0),
      requestDeserialize: (bytes) => fromBinary(IssueTokenRequestSchema, bytes),
      responseSerialize: (message) => Buffer.from(toBinary(IssueTokenResponseSchema, message)),
      responseDeserialize: (bytes) => bytes,
    },
  },
  {
    IssueToken(call, callback) {
      const [value = ""] = call.metadata.get("authorization");
      reissue(value.slice("Bearer ".length)).then(
        ({ accessToken, exp }) => {
          const expireTime = { seconds: BigInt(exp), nanos: 0 };
          callback(null, create(IssueTokenResponseSchema, { accessToken, expireTime }));
        },
        () => callback({ code: status.UNAUTHENTICATED }),
      );
    },
  },
);
server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  listening(port);
});
