/** Services that verify tokens: one that keeps to the key set's caching and asks no earlier, and the kit's own. */
import { createPublicKey, verify, type JsonWebKey, type KeyObject } from "node:crypto";
import { CachedDocument } from "../../src/kit/verify/cached-document.js";
import { createVerifier, TokenRefused, type Verifier } from "../../src/kit/verify/verify.js";
import type { Route } from "../../src/server/route.js";
import { issuer, leewaySeconds } from "./latchkey.js";
import type { Machine, World } from "./world.js";

/** A server that a verifier may ask, with its route. */
export interface Server {
  readonly machine: Machine;
  readonly route: (url: string) => Route | undefined;
}

const headersOf = (headers: Readonly<Record<string, unknown>>) => ({
  get: (name: string) => (headers[name] as string | undefined) ?? null,
});

/** `fetch` from one machine to any of the servers, through a balancer that leaves out those that are not ready. */
export function fetchFrom(world: World, machine: Machine, servers: () => readonly Server[]) {
  return (url: string, { headers }: { headers: Record<string, string> }): Promise<Response> =>
    new Promise((resolve, reject) => {
      const fail = (why: string) => machine.run(() => reject(new Error(why)), 1);
      const timeout = machine.run(() => reject(new Error("timed out")), 5000);
      const server = world.oneOf(servers()) as Server | undefined;
      const route = server?.route(url);
      if (!server || !route) {
        timeout.cancel();
        fail("no server");
        return;
      }
      const respond = async () => {
        const request = {
          method: "GET",
          headers,
          body: new Uint8Array(),
          caller: undefined as never,
        };
        const answer = await Promise.resolve(route.handle(request)).catch(() => undefined);
        machine.run(
          () => {
            timeout.cancel();
            const { status = 500, headers = {}, body = "" } = answer ?? {};
            // A key set so old that it may not be cached comes from a replica that is not ready.
            if (String(headers["cache-control"]).includes("max-age=0,")) {
              reject(new Error("not ready"));
              return;
            }
            resolve({
              ...{ status, headers: headersOf(headers), text: () => Promise.resolve(body) },
              body: { cancel: () => Promise.resolve() },
            } as unknown as Response);
          },
          world.between(0.2, 2),
        );
      };
      server.machine.run(() => void respond(), world.between(0.2, 2));
    });
}

const urls = {
  jwksUrl: "http://sim/.well-known/jwks.json",
  revocationsUrl: "http://sim/.well-known/revocations",
};

/** Keeps the key set for as long as it may and never asks earlier, not even for an unknown key. */
export class ObedientVerifier {
  readonly machine: Machine;
  readonly #keys: CachedDocument<ReadonlyMap<string, KeyObject>>;

  constructor(machine: Machine, fetch: ReturnType<typeof fetchFrom>) {
    this.machine = machine;
    this.#keys = new CachedDocument({
      ...{ url: urls.jwksUrl, maxAgeMs: 0, maxAgeMaxMs: Infinity, timeoutMs: 5000 },
      ...{ fetch: fetch as never, now: () => machine.wall() },
      parse: (body) => {
        const { keys } = JSON.parse(body) as { keys: (JsonWebKey & { kid: string })[] };
        return new Map(keys.map((key) => [key.kid, createPublicKey({ key, format: "jwk" })]));
      },
    });
  }

  /** Undefined if no key set can be had. */
  async accepts(token: string, kid: string): Promise<boolean | undefined> {
    const keys = await this.#keys.value().catch(() => undefined);
    const key = keys?.get(kid);
    if (!keys || !key) return keys && false;
    const [header, claims, signature = ""] = token.split(".");
    const input = Buffer.from(`${header ?? ""}.${claims ?? ""}`);
    return verify("RSA-SHA256", input, key, Buffer.from(signature, "base64url"));
  }
}

/** The kit's verifier with the list of revocations. */
export class KitVerifier {
  readonly machine: Machine;
  readonly #verifier: Verifier;

  constructor(machine: Machine, fetch: ReturnType<typeof fetchFrom>) {
    this.machine = machine;
    const now = () => machine.wall();
    this.#verifier = createVerifier({ issuer, leewaySeconds, ...urls, fetch: fetch as never, now });
  }

  /** The code of the refusal, or "accepted". */
  verdict(token: string): Promise<string> {
    return this.#verifier.verify(token).then(
      () => "accepted",
      (error: unknown) => (error instanceof TokenRefused ? error.code : "fault"),
    );
  }
}
