/**
 * Whether what an HTTP/2 client sends arrives in whole frames, and headers to their last one: node tells of
 * neither before. Depends on node only.
 */
import type { ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";

/**
 * Costs a comparison for each request, and a PING when a client has fallen silent: nobody can answer one
 * within a frame, or between the frames of a header block.
 */
export class FrameWatch {
  readonly #session: ServerHttp2Session;
  readonly #socket: Socket;
  /** The last stream whose headers are known to be whole. */
  #lastStreamId = 0;
  /** What had been read at the last check, and whether that is known to end with a whole frame. */
  #bytesRead = 0;
  #isWhole = true;
  /** Whether there are whole frames in what was read since then. */
  #hasProgressed = false;
  #isAsked = false;
  #waitingSince: number | undefined;

  constructor(session: ServerHttp2Session, socket: Socket) {
    this.#session = session;
    this.#socket = socket;
  }

  /** Tells of a whole frame, and of the stream that it opened, if any. */
  saw(streamId?: number): void {
    this.#hasProgressed = true;
    if (streamId !== undefined) this.#lastStreamId = streamId;
  }

  /**
   * How long, in milliseconds, it has been waiting for the rest of a frame that trickles in, or of headers;
   * `Infinity` where nghttp2 has ended the session for an error, which leaves the socket of node 20 open.
   * To be called now and then.
   *
   * @param hasStreams whether requests are in progress: their bodies are timed elsewhere.
   */
  check(now: number, hasStreams: boolean): number {
    const hasProgressed = this.#hasProgressed;
    const isQuiet = this.#socket.bytesRead === this.#bytesRead;
    if (this.#waitingSince !== undefined && !hasProgressed) {
      // Our PING is still here.
      if (!hasStreams && this.#session.state.outboundQueueSize !== 0) return Infinity;
      // Who is silent may be asleep.
      return isQuiet && this.#hasWholeHeaders() ? 0 : now - this.#waitingSince;
    }
    this.#waitingSince = undefined;
    if (isQuiet && this.#isWhole) return 0;
    this.#bytesRead = this.#socket.bytesRead;
    this.#isWhole = this.#hasProgressed = false;
    const isBusy = hasStreams || (!isQuiet && hasProgressed);
    if (isBusy && this.#hasWholeHeaders()) return 0;
    this.#waitingSince = now;
    this.#ask();
    return 0;
  }

  #hasWholeHeaders(): boolean {
    return this.#session.state.lastProcStreamID === this.#lastStreamId;
  }

  #ask(): void {
    if (this.#isAsked) return;
    this.#isAsked = true;
    this.#session.ping((error: Error | null) => {
      if (error) return;
      this.#isAsked = false;
      this.#waitingSince = undefined;
      this.#isWhole = true;
      this.#bytesRead = this.#socket.bytesRead;
      // Also of streams that were refused before they came to be.
      this.#lastStreamId = this.#session.state.lastProcStreamID ?? 0;
    });
  }
}
