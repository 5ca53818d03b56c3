/**
 * A service that verifies tokens from the key set alone. It caches the set for as long as it may
 * and never asks earlier, not even for an unknown key.
 */
import { decodeProtectedHeader, importJWK, jwtVerify, type CryptoKey, type JWK } from "jose";

export class CachingVerifier {
  readonly #urls: () => readonly string[];
  #keys = new Map<string, CryptoKey | Uint8Array>();
  #etag = "";
  #freshUntilMs = 0;
  #refreshing: Promise<void> | undefined;
  fetched = 0;

  /** @param urls of the servers that run now; the requests go to them in turn. */
  constructor(urls: () => readonly string[]) {
    this.#urls = urls;
  }

  /** @throws the errors of jose, and Error for a key that the cached set does not have. */
  async verify(token: string): Promise<void> {
    if (performance.now() >= this.#freshUntilMs) {
      this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = undefined));
      await this.#refreshing;
    }
    const { kid = "" } = decodeProtectedHeader(token);
    const key = this.#keys.get(kid);
    if (key === undefined) {
      throw new Error(`unknown key ${kid}, only ${[...this.#keys.keys()].join(", ")}`);
    }
    await jwtVerify(token, key, { algorithms: ["RS256"], clockTolerance: 10 });
  }

  async #refresh(): Promise<void> {
    // The server may just have been killed, so the next one is asked.
    const response = await this.#fetch().catch(() => this.#fetch());
    const [, maxAge = "0"] =
      /max-age=(\d+)/.exec(response.headers.get("cache-control") ?? "") ?? [];
    if (response.status !== 304) {
      if (!response.ok) throw new Error(`the key set answers ${response.status}`);
      const { keys } = (await response.json()) as { keys: (JWK & { kid: string })[] };
      this.#keys = new Map(
        await Promise.all(keys.map(async (key) => [key.kid, await importJWK(key)] as const)),
      );
      this.#etag = response.headers.get("etag") ?? "";
    }
    this.#freshUntilMs = performance.now() + Number(maxAge) * 1000;
  }

  #fetch(): Promise<Response> {
    const urls = this.#urls();
    const url = urls[this.fetched++ % urls.length] ?? "";
    const headers = { "if-none-match": this.#etag };
    return fetch(`${url}/.well-known/jwks.json`, { headers });
  }
}
