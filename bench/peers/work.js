/** The work of every peer for a renewal, apart from its framework: one user, one key, the same claims. */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";

export const pem = readFileSync(process.env.BENCH_KEY, "utf8");
export const issuer = "NomicGameManager.Api";

const users = new Map([["1", { disabled: false }]]);

/** The claims of the new token for a verified one, like Latchkey's. */
export function renew(claims, user = users.get(claims.sub)) {
  if (!user || user.disabled) throw new Error("no such user");
  const iat = Math.floor(Date.now() / 1000);
  return {
    sub: claims.sub,
    iss: issuer,
    exp: iat + 7200,
    iat,
    jti: randomUUID(),
    auth_time: claims.auth_time,
  };
}

/** Prints the address on which the peer listens, for the benchmark. */
export function listening(port) {
  console.log(JSON.stringify({ event: "started", url: `http://127.0.0.1:${port}` }));
}
