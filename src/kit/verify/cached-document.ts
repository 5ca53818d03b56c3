/**
 * A document fetched over HTTP and cached by its `Cache-Control` (RFC 9111). While its server fails, the cached one
 * is used for the time of `stale-if-error` (RFC 5861). Depends on `fetch`.
 */

export interface CachedDocumentOptions<T> {
  readonly url: string;
  /** Converts a body to the value. If it throws, the read has failed. */
  readonly parse: (body: string) => Promise<T> | T;
  /** The `max-age` of an answer without one. */
  readonly maxAgeMs: number;
  /** The longest `max-age` that is used. */
  readonly maxAgeMaxMs: number;
  /** How long a value may be used after its `max-age` while reads fail. Default: the answer's `stale-if-error`. */
  readonly staleMs?: number;
  readonly timeoutMs: number;
  readonly fetch: typeof fetch;
  readonly now: () => number;
}

interface Stored<T> {
  readonly value: T;
  readonly etag: string | null;
  readonly readAtMs: number;
  readonly freshUntilMs: number;
  readonly staleUntilMs: number;
}

const bodyCharactersMax = 16 * 1024 * 1024;
/** Part of its `max-age` after which a document is read again in the background. */
const readAheadAt = 0.8;
const backOffMs = 1000;
const backOffMaxMs = 30_000;

export class CachedDocument<T> {
  readonly #options: CachedDocumentOptions<T>;
  #stored: Stored<T> | undefined;
  #reading: Promise<void> | undefined;
  #failures = 0;
  #failedUntilMs = -Infinity;
  #refreshedAtMs = -Infinity;

  constructor(options: CachedDocumentOptions<T>) {
    if (!/^https?:$/.test(new URL(options.url).protocol)) {
      throw new TypeError(`${options.url} must begin with http: or https:`);
    }
    this.#options = options;
  }

  /** Resolves with the value, if it is fresh or may be stale. @throws the error of the last read */
  async value(): Promise<T> {
    const now = this.#options.now();
    const stored = this.#stored;
    if (stored && now < stored.freshUntilMs) {
      const aheadMs = stored.readAtMs + readAheadAt * (stored.freshUntilMs - stored.readAtMs);
      if (now >= aheadMs) this.#read().catch(() => undefined);
      return stored.value;
    }
    try {
      await this.#read();
    } catch (error) {
      if (stored && this.#options.now() < stored.staleUntilMs) return stored.value;
      throw error;
    }
    if (this.#stored === undefined) throw new Error(`${this.#options.url} was not read`);
    return this.#stored.value;
  }

  /** Reads the document again, but not twice within `pauseMs`. Resolves with whether it did. */
  async refresh(pauseMs: number): Promise<boolean> {
    const now = this.#options.now();
    // Calls during a read share that read.
    if (this.#reading === undefined && now < this.#refreshedAtMs + pauseMs) return false;
    this.#refreshedAtMs = now;
    return this.#read().then(
      () => true,
      () => false,
    );
  }

  /** Reads once for all callers; after a failure, pauses first. */
  #read(): Promise<void> {
    const { now } = this.#options;
    if (this.#reading === undefined) {
      if (now() < this.#failedUntilMs) {
        return Promise.reject(new Error(`${this.#options.url} could not be read a moment ago`));
      }
      this.#reading = this.#readOnce()
        .catch((error: unknown) => {
          const backOff = backOffMs * 2 ** Math.min(this.#failures++, 10);
          this.#failedUntilMs = now() + Math.min(backOff, backOffMaxMs, this.#options.maxAgeMaxMs);
          throw error;
        })
        .finally(() => (this.#reading = undefined));
    }
    return this.#reading;
  }

  async #readOnce(): Promise<void> {
    const { url, parse, timeoutMs, now } = this.#options;
    const sentAtMs = now();
    const headers: Record<string, string> = {};
    if (this.#stored?.etag) headers["if-none-match"] = this.#stored.etag;
    const signal = AbortSignal.timeout(timeoutMs);
    const response = await this.#options.fetch(url, { headers, signal, redirect: "error" });
    const isSame = response.status === 304 && this.#stored !== undefined;
    if (!isSame && response.status !== 200) {
      await response.body?.cancel();
      throw new Error(`${url} answers ${response.status}`);
    }
    const body = await response.text();
    if (body.length > bodyCharactersMax) throw new Error(`${url} is too large`);
    const value = isSame && this.#stored ? this.#stored.value : await parse(body);
    this.#failures = 0;
    this.#failedUntilMs = -Infinity;
    const { maxAgeMs, staleMs } = this.#lifeOf(response.headers);
    this.#stored = {
      value,
      etag: response.headers.get("etag") ?? (isSame ? (this.#stored?.etag ?? null) : null),
      readAtMs: sentAtMs,
      freshUntilMs: sentAtMs + maxAgeMs,
      staleUntilMs: sentAtMs + maxAgeMs + staleMs,
    };
  }

  #lifeOf(headers: Headers): { maxAgeMs: number; staleMs: number } {
    const directives = headers.get("cache-control") ?? "";
    const secondsOf = (name: string) =>
      new RegExp(`(?:^|[\\s,])${name}\\s*=\\s*"?(\\d+)`, "i").exec(directives)?.[1];
    const isUncached = /(?:^|[\s,])no-(?:store|cache)\b/i.test(directives);
    const maxAge = secondsOf("max-age");
    const ageMs = Math.max(0, Number(headers.get("age")) || 0) * 1000;
    const givenMs = maxAge === undefined ? this.#options.maxAgeMs : Number(maxAge) * 1000;
    const maxAgeMs = isUncached ? 0 : Math.min(givenMs, this.#options.maxAgeMaxMs) - ageMs;
    const staleMs = this.#options.staleMs ?? Number(secondsOf("stale-if-error") ?? 0) * 1000;
    return { maxAgeMs: Math.max(0, maxAgeMs), staleMs };
  }
}
