/**
 * The context that the implementation of a unary rpc is called with. Depends on the HTTP exchange
 * and Connect.
 */
import type { DescMethodUnary, DescService } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createContextValues,
  type ContextValues,
  type HandlerContext,
} from "@connectrpc/connect";
import type { Exchange } from "../server/exchange.js";
import { exchangeKey, urlOf, webHeadersOf } from "./context.js";

/** Creates its expensive parts on demand: most implementations need a header or two. */
export class UnaryContext implements HandlerContext {
  readonly requestMethod = "POST";
  /** The headers and trailers that the implementation has set, if any. */
  header: Headers | undefined;
  trailer: Headers | undefined;
  readonly #exchange: Exchange;
  readonly #startMs = performance.now();
  #requestHeader: Headers | undefined;
  #values: ContextValues | undefined;
  #timeoutMs: number | undefined;
  #deadline: AbortController | undefined;

  constructor(
    readonly method: DescMethodUnary,
    readonly protocolName: string,
    exchange: Exchange,
  ) {
    this.#exchange = exchange;
  }

  get service(): DescService {
    return this.method.parent;
  }

  get url(): string {
    return urlOf(this.#exchange);
  }

  get requestHeader(): Headers {
    return (this.#requestHeader ??= webHeadersOf(this.#exchange.req.headers));
  }

  get responseHeader(): Headers {
    return (this.header ??= new Headers());
  }

  get responseTrailer(): Headers {
    return (this.trailer ??= new Headers());
  }

  get values(): ContextValues {
    return (this.#values ??= createContextValues().set(exchangeKey, this.#exchange));
  }

  /** Aborts at the deadline or when the client leaves. */
  get signal(): AbortSignal {
    return this.#deadline?.signal ?? this.#exchange.signal;
  }

  timeoutMs(): number | undefined {
    const elapsedMs = performance.now() - this.#startMs;
    return this.#timeoutMs === undefined ? undefined : this.#timeoutMs - elapsedMs;
  }

  /**
   * Returns the result of `work` if it comes before the deadline.
   * @param timeoutMs from the arrival of the request; undefined for no deadline
   * @throws ConnectError `deadline_exceeded`, and the errors of `work`
   */
  async inTime<T>(timeoutMs: number | undefined, work: () => Promise<T>): Promise<T> {
    if (timeoutMs === undefined) return work();
    this.#timeoutMs = timeoutMs;
    const deadline = (this.#deadline = new AbortController());
    const { signal } = this.#exchange;
    const onGone = () => deadline.abort(signal.reason);
    signal.addEventListener("abort", onGone, { once: true });
    const timer = setTimeout(() => {
      deadline.abort(new ConnectError("the deadline has passed", Code.DeadlineExceeded));
    }, this.timeoutMs());
    const passed = new Promise<never>((_, reject) => {
      // Both the deadline and the exchange abort with an error.
      const onAbort = () => reject(deadline.signal.reason as Error);
      deadline.signal.addEventListener("abort", onAbort, { once: true });
    });
    try {
      return await Promise.race([passed, work()]);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onGone);
    }
  }
}
