/**
 * A service with the kit: it requires a token of its callers, and calls each of its PEERS ten times a second with its
 * own. `/counts` shows the results.
 */
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { createTokenSource } from "@latchkey-auth/latchkey/client";
import { claimsOf, createVerifier } from "@latchkey-auth/latchkey/verify";

const {
  LATCHKEY_URL: baseUrl = "http://127.0.0.1:8080",
  LATCHKEY_ISSUER: issuer = "NomicGameManager.Api",
  LATCHKEY_USERNAME: username = "TestUser",
  LATCHKEY_PASSWORD: password = "password",
  PORT: port = "3000",
  PEERS: peers = "",
  RENEW_AT: renewAt = "0.8",
} = process.env;

const counts = { calls: 0, failed: 0, lastFailure: "", renewals: 0, failedRenewals: 0 };
const source = createTokenSource({
  baseUrl,
  credentials: { username, password },
  renewAt: Number(renewAt),
  onEvent: ({ type }) => {
    if (type === "renewed") counts.renewals++;
    if (type === "failed") counts.failedRenewals++;
  },
});
const verifier = createVerifier({
  issuer,
  jwksUrl: `${baseUrl}/.well-known/jwks.json`,
  revocationsUrl: `${baseUrl}/.well-known/revocations`,
  // How long an outage of Latchkey has no effect.
  revocationsMaxAgeSeconds: 120,
});

const demand = verifier.middleware();
const server = createServer((request, response) => {
  if (request.url === "/counts") response.end(JSON.stringify(counts));
  else void demand(request, response, () => response.end(`hello ${claimsOf(request).sub}`));
});
server.listen(Number(port), "127.0.0.1");

async function callForEver(peer: string): Promise<never> {
  for (;;) {
    const pause = sleep(100);
    const fault = await source
      .fetch(peer, { signal: AbortSignal.timeout(10_000) })
      .then(
        async (response) => ((await response.text(), response.ok) ? "" : `${response.status}`),
        String,
      );
    counts.calls++;
    if (fault !== "") {
      counts.failed++;
      counts.lastFailure = `${peer}: ${fault}`;
    }
    await pause;
  }
}
for (const peer of peers.split(",").filter(Boolean)) void callForEver(peer);
