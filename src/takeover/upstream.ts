/**
 * HTTP exchanges with the old server, bounded in time and size, behind a circuit breaker. Depends on undici,
 * cockatiel, the server's body buffer and a neighbour.
 */
import {
  CircuitState,
  circuitBreaker,
  ConsecutiveBreaker,
  handleAll,
  isBrokenCircuitError,
  type CircuitBreakerPolicy,
} from "cockatiel";
import { Pool, type Dispatcher } from "undici";
import { BodyBuffer, Room, Share } from "../server/body.js";
import { outageOf, upstreamFault } from "./outages.js";

export interface UpstreamRequest {
  readonly method: string;
  /** Path and query, below the base URL. */
  readonly target: string;
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly body: Uint8Array | undefined;
}

/** A complete answer, unchanged. */
export interface UpstreamAnswer {
  readonly status: number;
  readonly reason: string;
  /** By names in lower case. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Uint8Array;
}

export interface UpstreamOptions {
  /** Without a trailing slash. */
  readonly url: string;
  readonly timeoutMs: number;
  /** Certificate authorities, PEM. Default: those of Node.js. */
  readonly ca?: string | undefined;
  /** `cause` is the last failure in words, unless the breaker closes. */
  readonly onBreaker: (state: BreakerState, cause: string | undefined) => void;
}

/** `trying`: one exchange is running to check whether the old server is back. */
export type BreakerState = "closed" | "open" | "trying";

/** Failures in a row after which the old server counts as down. */
const failuresMax = 5;
/** How long the breaker stays open, before one exchange is tried. */
const pauseMs = 1000;
const answerBytesMax = 1_048_576;
const headerBytesMax = 16_384;
const connectionsMax = 1024;
/** The memory that all answers being read may hold together. */
const roomBytesMax = 64 * answerBytesMax;
/** Shorter than the idle time of common servers, so that no request is sent on a connection that they close. */
const idleMs = 4000;

const stateNames = {
  [CircuitState.Closed]: "closed",
  [CircuitState.Open]: "open",
  [CircuitState.HalfOpen]: "trying",
  [CircuitState.Isolated]: "open",
} as const satisfies Record<CircuitState, BreakerState>;

export class Upstream {
  readonly timeoutMs: number;
  readonly #pool: Pool;
  readonly #basePath: string;
  readonly #breaker: CircuitBreakerPolicy;
  readonly #room = new Room(roomBytesMax);
  /** The last failure; an exchange that the breaker refuses fails for the same cause. */
  #outage = upstreamFault("gives no answer");

  constructor({ url, timeoutMs, ca, onBreaker }: UpstreamOptions) {
    const { origin, pathname } = new URL(url);
    this.timeoutMs = timeoutMs;
    this.#basePath = pathname === "/" ? "" : pathname;
    this.#pool = new Pool(origin, {
      connections: connectionsMax,
      pipelining: 1,
      keepAliveTimeout: idleMs,
      keepAliveMaxTimeout: idleMs,
      maxHeaderSize: headerBytesMax,
      // Off, because `Reading` bounds the whole exchange by one timer.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: { timeout: timeoutMs, ...(ca !== undefined && { ca }) },
    });
    this.#breaker = circuitBreaker(handleAll, {
      halfOpenAfter: pauseMs,
      breaker: new ConsecutiveBreaker(failuresMax),
    });
    this.#breaker.onFailure(({ reason }) => {
      if ("error" in reason) this.#outage = outageOf(reason.error);
    });
    this.#breaker.onStateChange((state) =>
      onBreaker(
        stateNames[state],
        state === CircuitState.Closed ? undefined : this.#outage.message,
      ),
    );
  }

  get breakerState(): BreakerState {
    return stateNames[this.#breaker.state];
  }

  /**
   * Sends a request and resolves with the result of `read`.
   * @param read converts the answer, and throws if it does not count as one
   * @param waitMs time for the exchange; default `timeoutMs`
   * @param onLate receives an answer that arrives later, within another `timeoutMs`
   * @throws AuthError `store_unavailable` if no complete answer arrives in time; at once while the breaker is open
   */
  async exchange<T>(
    request: UpstreamRequest,
    read: (answer: UpstreamAnswer) => T | Promise<T>,
    waitMs = this.timeoutMs,
    onLate?: (answer: UpstreamAnswer) => void,
  ): Promise<T> {
    // The library would make other exchanges wait for the one that tries.
    if (this.#breaker.state === CircuitState.HalfOpen) throw this.#outage;
    try {
      return await this.#breaker.execute(async () =>
        read(await this.#send(request, waitMs, onLate)),
      );
    } catch (error) {
      throw isBrokenCircuitError(error) ? this.#outage : outageOf(error);
    }
  }

  close(): Promise<void> {
    return this.#pool.destroy();
  }

  #send(
    { method, target, headers, body }: UpstreamRequest,
    waitMs: number,
    onLate?: (answer: UpstreamAnswer) => void,
  ) {
    return new Promise<UpstreamAnswer>((resolve, reject) => {
      const late = onLate && { onLate, lateMs: this.timeoutMs };
      const reading = new Reading(this.#room, waitMs, resolve, reject, late);
      const path = this.#basePath + target;
      this.#pool.dispatch(
        { method, path, headers: headers as string[], body: body ?? null },
        reading,
      );
    });
  }
}

/** Reads one answer. The library's own streams would double the cost of an exchange. */
class Reading implements Dispatcher.DispatchHandler {
  readonly #share: Share;
  readonly #body: BodyBuffer;
  #timer: NodeJS.Timeout;
  #resolve: (answer: UpstreamAnswer) => void;
  #reject: (error: Error) => void;
  #controller: Dispatcher.DispatchController | undefined;
  #head: Omit<UpstreamAnswer, "body"> | undefined;
  #isOver = false;

  constructor(
    room: Room,
    waitMs: number,
    resolve: (answer: UpstreamAnswer) => void,
    reject: (error: Error) => void,
    late?: { readonly onLate: (answer: UpstreamAnswer) => void; readonly lateMs: number },
  ) {
    this.#share = new Share(room);
    this.#body = new BodyBuffer(this.#share);
    this.#resolve = resolve;
    this.#reject = reject;
    const fail = () => this.#fail(upstreamFault("does not answer in time"));
    this.#timer = setTimeout(() => {
      // A request that was never sent gets no late answer.
      if (late === undefined || this.#controller === undefined) {
        fail();
        return;
      }
      reject(upstreamFault("does not answer in time"));
      this.#resolve = late.onLate;
      this.#reject = () => undefined;
      this.#timer = setTimeout(fail, late.lateMs);
    }, waitMs);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#isOver) controller.abort(upstreamFault("was not asked in time"));
  }

  onResponseStart(
    _: unknown,
    status: number,
    headers: UpstreamAnswer["headers"],
    reason = "",
  ): void {
    // An interim answer (1xx) is followed by another one.
    if (status >= 200) this.#head = { status, reason, headers };
  }

  onResponseData(_: unknown, piece: Buffer): void {
    if (this.#isOver) return;
    try {
      if (this.#body.length + piece.length > answerBytesMax)
        throw upstreamFault("answers too much");
      this.#body.append(piece);
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  onResponseEnd(): void {
    if (this.#head === undefined) return;
    const { status, reason, headers } = this.#head;
    this.#end(() => this.#resolve({ status, reason, headers, body: this.#body.bytes }));
  }

  onResponseError(_: unknown, error: Error): void {
    this.#end(() => this.#reject(error));
  }

  #fail(error: Error): void {
    this.#end(() => this.#reject(error));
    this.#controller?.abort(error);
  }

  #end(settle: () => void): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    settle();
    this.#share.release();
  }
}
