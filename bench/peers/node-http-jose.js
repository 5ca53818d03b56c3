import { createPrivateKey, createPublicKey } from "node:crypto";
import { createServer } from "node:http";
import { jwtVerify, SignJWT } from "jose";
import { MongoClient } from "mongodb";
import { issuer, listening, pem, renew } from "./work.js";

const privateKey = createPrivateKey(pem);
const publicKey = createPublicKey(pem);
const uri = process.env.MONGODB_URI;
const users = uri && new MongoClient(uri).db().collection("users");
const findUser = (id) => users?.findOne({ _id: id }, { projection: { disabled: 1 } });

/** Latchkey's own answer, byte for byte except for the key id. */
const jwk = {
  ...publicKey.export({ format: "jwk" }),
  use: "sig",
  alg: "RS256",
  kid: "k".repeat(43),
};
const keySet = JSON.stringify({ keys: [jwk] });
const keySetHeaders = {
  "content-type": "application/jwk-set+json",
  "cache-control": "public, max-age=300, stale-if-error=3600",
  etag: `"${"e".repeat(43)}"`,
  "content-length": keySet.length,
};

const server = createServer(async (req, res) => {
  if (req.url === "/.well-known/jwks.json") {
    res.writeHead(200, keySetHeaders);
    res.end(keySet);
    return;
  }
  try {
    const token = req.headers.authorization.slice("Bearer ".length);
    const { payload } = await jwtVerify(token, publicKey, { issuer, algorithms: ["RS256"] });
    const user = users ? await findUser(Number(payload.sub)) : undefined;
    const issued = await new SignJWT(renew(payload, user))
      .setProtectedHeader({ typ: "JWT", alg: "RS256", kid: "k" })
      .sign(privateKey);
    const body = JSON.stringify({ isSuccess: true, token: issued });
    res.writeHead(200, { "content-type": "application/json", "content-length": body.length });
    res.end(body);
  } catch {
    res.writeHead(403).end();
  }
});
server.listen(0, "127.0.0.1", () => listening(server.address().port));
