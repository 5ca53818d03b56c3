/**
 * A source of access tokens for a service that calls others: logs in once, keeps the token fresh, and goes on
 * with its current token while Latchkey is unavailable. Depends on its neighbours, `fetch` and the types of
 * Connect.
 */
import type { Interceptor } from "@connectrpc/connect";
import { callLatchkey, TokenSourceError, type Credentials, type Grant } from "./calls.js";
import { systemClock, type Clock, type Timer } from "./clock.js";

export { TokenSourceError, type Credentials, type TokenSourceErrorCode } from "./calls.js";
export type { Clock, Timer } from "./clock.js";

export interface TokenSourceOptions {
  /** Address of Latchkey over HTTP or HTTPS, such as `https://auth.example.com`, with its path if it has one. */
  readonly baseUrl: string;
  /** Username and password, or a function that is called before each login. */
  readonly credentials: Credentials | (() => Credentials | Promise<Credentials>);
  /** Part of a token's lifetime after which it is renewed in the background. From .1 to .95, default .8. */
  readonly renewAt?: number;
  /** Renewals come earlier by a random part of the lifetime, up to this one. From 0 to .1, default .05. */
  readonly jitter?: number;
  /** Time for one `token()` that has to call Latchkey, retries included. From 100 to 600,000 ms, default 10,000. */
  readonly timeoutMs?: number;
  /** Time during which refused credentials are not sent again. From 60,000 to 86,400,000 ms, default 300,000. */
  readonly refusedPauseMs?: number;
  /** Called for every login, renewal and failure. Errors that it throws are ignored. Default none. */
  readonly onEvent?: (event: TokenSourceEvent) => void;
  /** Default the global `fetch`. */
  readonly fetch?: typeof fetch;
  /** Default the system's. */
  readonly clock?: Clock;
  /** A number from 0 to 1, 1 excluded. Default `Math.random`. */
  readonly random?: () => number;
}

export type TokenSourceEvent =
  | { readonly type: "logged_in" | "renewed"; readonly lifeSeconds: number }
  | {
      readonly type: "failed";
      readonly error: TokenSourceError;
      /** The time until the next automatic attempt. */
      readonly retryInMs: number;
    };

export interface TokenSource {
  /**
   * Resolves with the access token, which all callers share until it is renewed.
   * @param options.signal ends this caller's wait only; its reason is then thrown
   * @throws TokenSourceError if no token can be had within `timeoutMs`
   */
  token(options?: { readonly signal?: AbortSignal | undefined }): Promise<string>;
  /**
   * Resolves with another token in place of `refused`, which a service has refused. Resolves with undefined if
   * Latchkey is unavailable, or if this was called less than ten seconds ago.
   */
  replace(refused: string): Promise<string | undefined>;
  /** Forgets that credentials were refused, so that the next `token()` logs in. */
  retry(): void;
  /** For a Connect client: sends the token, and repeats a unary call once after `unauthenticated`. */
  interceptor(): Interceptor;
  /** `fetch` that sends the token, and repeats a request once after a 401 if its body can be sent again. */
  readonly fetch: typeof fetch;
  /** For grpc-js: call credentials that send the token. Takes the module, so that the kit does not depend on it. */
  callCredentials<C>(grpc: GrpcModule<C>): C;
  /** Ends the renewals. After this, `token()` throws. */
  close(): Promise<void>;
}

/** The part of `@grpc/grpc-js` that {@link TokenSource.callCredentials} uses. */
export interface GrpcModule<C> {
  readonly Metadata: new () => GrpcMetadata;
  readonly credentials: {
    createFromMetadataGenerator(
      generator: (
        options: unknown,
        callback: (error: Error | null, metadata?: GrpcMetadata) => void,
      ) => void,
    ): C;
  };
}
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- grpc-js' class has private members
type GrpcMetadata = any;

/** @throws RangeError if an option is out of its range, TypeError if `baseUrl` is not a URL of HTTP or HTTPS */
export function createTokenSource(options: TokenSourceOptions): TokenSource {
  return new LatchkeyTokenSource(options);
}

interface Held extends Grant {
  readonly renewAtMs: number;
  readonly expiresAtMs: number;
}

const replacePauseMs = 10_000;
const backOffMs = 1000;
const backOffMaxMs = 60_000;
const unauthenticated = 16;

class LatchkeyTokenSource implements TokenSource {
  readonly fetch: typeof fetch;
  readonly #options: TokenSourceOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #renewAt: number;
  readonly #jitter: number;
  readonly #timeoutMs: number;
  readonly #refusedPauseMs: number;
  readonly #closing = new AbortController();
  #held: Held | undefined;
  #flight: Promise<Held> | undefined;
  #timer: Timer | undefined;
  #failure: { readonly error: TokenSourceError; readonly untilMs: number } | undefined;
  #failures = 0;
  #replacedAtMs = -Infinity;

  constructor(options: TokenSourceOptions) {
    if (!/^https?:$/.test(new URL(options.baseUrl).protocol)) {
      throw new TypeError("baseUrl must begin with http: or https:");
    }
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#renewAt = inRange("renewAt", options.renewAt ?? 0.8, 0.1, 0.95);
    this.#jitter = inRange("jitter", options.jitter ?? 0.05, 0, 0.1);
    this.#timeoutMs = inRange("timeoutMs", options.timeoutMs ?? 10_000, 100, 600_000);
    const pauseMs = options.refusedPauseMs ?? 300_000;
    this.#refusedPauseMs = inRange("refusedPauseMs", pauseMs, 60_000, 86_400_000);
    this.fetch = (input, init) => this.#fetch(input, init);
  }

  async token({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<string> {
    signal?.throwIfAborted();
    if (this.#closing.signal.aborted) throw closed();
    const now = this.#clock.now();
    const held = this.#held;
    if (held && now < held.expiresAtMs) {
      // The timer may be late, for example after the machine has slept.
      if (now >= held.renewAtMs && !this.#isPaused()) this.#renewBehind();
      return held.accessToken;
    }
    if (this.#failure && now < this.#failure.untilMs) throw this.#failure.error;
    const { accessToken } = await orAborted(this.#acquire(), signal);
    return accessToken;
  }

  async replace(refused: string): Promise<string | undefined> {
    const held = this.#held;
    if (held && held.accessToken !== refused) return held.accessToken;
    const now = this.#clock.now();
    if (now < this.#replacedAtMs + replacePauseMs || this.#isPaused()) return undefined;
    this.#replacedAtMs = now;
    return this.#acquire().then(
      ({ accessToken }) => accessToken,
      () => undefined,
    );
  }

  retry(): void {
    this.#failure = undefined;
    this.#failures = 0;
  }

  interceptor(): Interceptor {
    return (next) => async (request) => {
      const token = await this.token({ signal: request.signal });
      request.header.set("authorization", `Bearer ${token}`);
      try {
        return await next(request);
      } catch (error) {
        const isRefused = (error as { code?: unknown }).code === unauthenticated;
        const other = isRefused && !request.stream ? await this.replace(token) : undefined;
        if (other === undefined) throw error;
        request.header.set("authorization", `Bearer ${other}`);
        return next(request);
      }
    };
  }

  callCredentials<C>(grpc: GrpcModule<C>): C {
    return grpc.credentials.createFromMetadataGenerator((_, callback) => {
      this.token().then(
        (token) => {
          const metadata = new grpc.Metadata() as { set(key: string, value: string): void };
          metadata.set("authorization", `Bearer ${token}`);
          callback(null, metadata);
        },
        (error: unknown) => callback(error as Error),
      );
    });
  }

  async close(): Promise<void> {
    this.#closing.abort(closed());
    this.#timer?.cancel();
    await this.#flight?.catch(() => undefined);
    this.#timer?.cancel();
  }

  async #fetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
    const signal = init?.signal ?? (input instanceof Request ? input.signal : undefined);
    const token = await this.token({ signal: signal ?? undefined });
    const isRepeatable =
      !(input instanceof Request && input.body) && !(init?.body instanceof ReadableStream);
    const send = (bearer: string) => {
      const headers = new Headers(
        init?.headers ?? (input instanceof Request ? input.headers : undefined),
      );
      headers.set("authorization", `Bearer ${bearer}`);
      return (this.#options.fetch ?? fetch)(input, { ...init, headers });
    };
    const response = await send(token);
    if (response.status !== 401 || !isRepeatable) return response;
    const other = await this.replace(token);
    if (other === undefined) return response;
    await response.body?.cancel();
    return send(other);
  }

  #isPaused(): boolean {
    return this.#failure !== undefined && this.#clock.now() < this.#failure.untilMs;
  }

  #renewBehind(): void {
    this.#acquire().catch(() => undefined);
  }

  /** Gets a new token. All callers share one call. */
  #acquire(): Promise<Held> {
    this.#flight ??= this.#attempt(this.#clock.now() + this.#timeoutMs).finally(
      () => (this.#flight = undefined),
    );
    return this.#flight;
  }

  /** Calls Latchkey until there is a token, the time is over, or another call cannot help. */
  async #attempt(deadlineMs: number): Promise<Held> {
    for (;;) {
      const remainingMs = deadlineMs - this.#clock.now();
      try {
        return this.#hold(await this.#ask(Math.max(1, remainingMs)));
      } catch (cause) {
        if (this.#closing.signal.aborted) throw closed();
        const { error, waitMs } = this.#fail(TokenSourceError.from(cause));
        // While the current token is valid nobody waits, so the timer makes the next attempt.
        const mayWait = !this.#isHolding() && error.isRetryable;
        if (!mayWait || this.#clock.now() + waitMs >= deadlineMs) throw error;
        await this.#clock.sleep(waitMs, this.#closing.signal);
      }
    }
  }

  /** Renews the token if there is a valid one. Otherwise, or if that is refused, logs in by the password. */
  async #ask(timeoutMs: number): Promise<Grant> {
    const sentAtMs = this.#clock.now();
    const call = { ...this.#options, timeoutMs, sentAtMs, signal: this.#closing.signal };
    if (this.#held && this.#isHolding()) {
      try {
        const grant = await callLatchkey({ ...call, bearer: this.#held.accessToken });
        this.#tell({ type: "renewed", lifeSeconds: grant.lifeMs / 1000 });
        return grant;
      } catch (error) {
        if (!(error instanceof TokenSourceError) || error.code !== "refused") throw error;
      }
    }
    const { credentials } = this.#options;
    const password = typeof credentials === "function" ? await credentials() : credentials;
    const grant = await callLatchkey({ ...call, password });
    this.#tell({ type: "logged_in", lifeSeconds: grant.lifeMs / 1000 });
    return grant;
  }

  #isHolding(): boolean {
    return this.#held !== undefined && this.#clock.now() < this.#held.expiresAtMs;
  }

  #hold(grant: Grant): Held {
    const part = this.#renewAt - this.#jitter * this.#random();
    const held = {
      ...grant,
      renewAtMs: grant.sentAtMs + grant.lifeMs * part,
      expiresAtMs: grant.sentAtMs + grant.lifeMs,
    };
    this.#held = held;
    this.#failure = undefined;
    this.#failures = 0;
    this.#schedule(held.renewAtMs - this.#clock.now());
    return held;
  }

  #fail(error: TokenSourceError): { readonly error: TokenSourceError; readonly waitMs: number } {
    const backOff = Math.min(backOffMaxMs, backOffMs * 2 ** this.#failures++);
    const spread = backOff * (1 + 0.2 * this.#random());
    const waitMs = error.isRetryable
      ? Math.max(error.retryAfterMs ?? 0, spread)
      : this.#refusedPauseMs;
    this.#failure = { error, untilMs: this.#clock.now() + waitMs };
    this.#tell({ type: "failed", error, retryInMs: waitMs });
    if (this.#isHolding()) this.#schedule(waitMs);
    return { error, waitMs };
  }

  #schedule(delayMs: number): void {
    this.#timer?.cancel();
    if (this.#closing.signal.aborted) return;
    this.#timer = this.#clock.timer(Math.max(0, delayMs), () => this.#renewBehind());
  }

  #tell(event: TokenSourceEvent): void {
    try {
      this.#options.onEvent?.(event);
    } catch {
      // A failing listener must not affect the token.
    }
  }
}

function inRange(name: string, value: number, min: number, max: number): number {
  if (typeof value !== "number" || !(value >= min && value <= max)) {
    throw new RangeError(`${name} must be a number from ${min} to ${max}`);
  }
  return value;
}

const closed = () => new TokenSourceError("closed", "the token source is closed");

/** Settles like the promise, or rejects with the signal's reason if that aborts first. */
function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
