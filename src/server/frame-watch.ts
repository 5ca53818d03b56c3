/**
 * Tells whether an HTTP/2 client finishes its frames and header blocks: node reports neither before
 * they are complete. Depends on node only.
 */
import type { ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";

/**
 * Costs a comparison for each request, and a PING when a client falls silent: a client inside a
 * frame or a header block cannot answer one.
 */
export class FrameWatch {
  readonly #session: ServerHttp2Session;
  readonly #socket: Socket;
  /** The last stream whose headers are complete. */
  #lastStreamId = 0;
  /** The bytes read at the last check, and whether they end with a complete frame. */
  #bytesRead = 0;
  #isWhole = true;
  /** Whether a complete frame has arrived since then. */
  #hasProgressed = false;
  #isAsked = false;
  #waitingSince: number | undefined;

  constructor(session: ServerHttp2Session, socket: Socket) {
    this.#session = session;
    this.#socket = socket;
  }

  /** Notes a complete frame, and the stream that it opened, if any. */
  saw(streamId?: number): void {
    this.#hasProgressed = true;
    if (streamId !== undefined) this.#lastStreamId = streamId;
  }

  /**
   * Returns for how many milliseconds the rest of a frame or of headers is missing; `Infinity` if
   * nghttp2 has ended the session for an error, which leaves the socket open on Node 20. Call it
   * regularly.
   * @param hasStreams whether requests are open: their bodies are timed elsewhere
   */
  check(now: number, hasStreams: boolean): number {
    const hasProgressed = this.#hasProgressed;
    const isQuiet = this.#socket.bytesRead === this.#bytesRead;
    if (this.#waitingSince !== undefined && !hasProgressed) {
      // The PING has not been sent.
      if (!hasStreams && this.#session.state.outboundQueueSize !== 0) return Infinity;
      // A silent client may be suspended.
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
      // Counts streams that were refused before they were opened, too.
      this.#lastStreamId = this.#session.state.lastProcStreamID ?? 0;
    });
  }
}
