/** An old server that costs almost nothing: users `userN`, the password `an old password`, tokens made in advance. */
import { sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

const key = readFileSync(process.env.KEY_FILE);
const iat = Math.floor(Date.now() / 1000);
const tokens = new Map();

function tokenOf(sub) {
  if (!tokens.has(sub)) {
    const claims = { sub, iss: "NomicGameManager.Api", exp: iat + 7200, iat };
    const input = [{ typ: "JWT", alg: "RS256" }, claims]
      .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
      .join(".");
    tokens.set(sub, `${input}.${sign("sha256", Buffer.from(input), key).toString("base64url")}`);
  }
  return tokens.get(sub);
}

/** The subject, if the credentials are right. */
function subjectOf([scheme, value]) {
  if (scheme === "Bearer") return "0";
  const [, id] = /^user(\d+):an old password$/.exec(Buffer.from(value, "base64").toString()) ?? [];
  return id;
}

const server = createServer((req, res) => {
  req.resume();
  const subject = subjectOf((req.headers.authorization ?? "").split(" "));
  if (subject === undefined) return res.writeHead(403, { "content-length": "0" }).end();
  const body = JSON.stringify({ isSuccess: true, token: tokenOf(subject) });
  const headers = {
    "content-type": "application/json;charset=UTF-8",
    "content-length": body.length,
  };
  res.writeHead(200, headers).end(body);
}).listen(0, "127.0.0.1", () => {
  const url = `http://127.0.0.1:${server.address().port}`;
  console.log(JSON.stringify({ event: "started", url }));
});
