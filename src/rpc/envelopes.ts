/**
 * Messages in the envelopes of gRPC, gRPC-Web and Connect's streams: one byte of flags, four of
 * length, the message. Depends on auth's limits, the HTTP exchange and Connect.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import { requestBytesMax } from "../auth/limits.js";
import { BodyBuffer, type HeadCheck } from "../server/body.js";
import type { Exchange } from "../server/exchange.js";

export const envelopeBytes = 5;

/** How many bytes a client may send before it reads the answers. */
const aheadBytesMax = 4 * requestBytesMax;

export function envelope(flags: number, bytes: Uint8Array): Uint8Array {
  const enveloped = Buffer.allocUnsafe(envelopeBytes + bytes.length);
  enveloped.writeUInt8(flags, 0);
  enveloped.writeUInt32BE(bytes.length, 1);
  enveloped.set(bytes, envelopeBytes);
  return enveloped;
}

/** The length of the message that an envelope announces. */
const announcedBytes = (head: Buffer) => head.readUInt32BE(1);

/** Refuses a message by its announced length. */
export const envelopeCheck: HeadCheck = {
  bytes: envelopeBytes,
  announcesTooMuch: (head) => announcedBytes(head) > requestBytesMax,
};

export function tooLarge(): ConnectError {
  return new ConnectError(
    `the request message is larger than ${requestBytesMax} bytes`,
    Code.ResourceExhausted,
  );
}

/**
 * Reads whole envelopes from a request's body, however the client cuts it. Connect then reads each
 * in one piece: its own reader sums up all pieces of a message at each piece (connect-es 2.1 to
 * 2.3, `EnvelopeDecoderImpl`). Pieces are copied at once: left in node's buffers they cost a
 * hundred times their length.
 * @param toConnectError turns an error that is not Connect's into the one that the caller sees
 */
export function readEnvelopes(
  exchange: Exchange,
  toConnectError: (error: unknown) => ConnectError,
): AsyncIterable<Uint8Array> {
  // Reading starts at the first `next`: a request that Connect refuses by its headers is never
  // read.
  return { [Symbol.asyncIterator]: () => new EnvelopeReader(exchange, toConnectError) };
}

class EnvelopeReader implements AsyncIterator<Uint8Array, undefined> {
  readonly #exchange: Exchange;
  readonly #toConnectError: (error: unknown) => ConnectError;
  readonly #buffer: BodyBuffer;
  #isReading = false;
  #isEnded = false;
  #fault: ConnectError | undefined;
  #wake: (() => void) | undefined;

  constructor(exchange: Exchange, toConnectError: (error: unknown) => ConnectError) {
    this.#exchange = exchange;
    this.#toConnectError = toConnectError;
    this.#buffer = new BodyBuffer(exchange.share);
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (!this.#isReading) this.#read();
    if (this.#isTooLarge()) this.#fault ??= tooLarge();
    while (!this.#hasEnvelope() && !this.#isEnded && this.#fault === undefined) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    if (this.#hasEnvelope()) return { done: false, value: this.#buffer.shift(this.#wantedBytes()) };
    if (this.#fault) throw this.#fault;
    // Passes a truncated envelope on: Connect refuses it with the right error.
    if (this.#buffer.length > 0) {
      return { done: false, value: this.#buffer.shift(this.#buffer.length) };
    }
    return { done: true, value: undefined };
  }

  return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#isEnded = true;
    this.#buffer.clear();
    return Promise.resolve({ done: true, value: undefined });
  }

  #read(): void {
    const { req } = this.#exchange;
    this.#isReading = true;
    const end = (fault?: ConnectError) => {
      this.#isEnded = true;
      this.#fault ??= fault;
      this.#wake?.();
    };
    const onGone = () => {
      if (!req.complete || req.errored) end(new ConnectError("the client left", Code.Canceled));
    };
    req.on("data", (piece: Buffer) => this.#take(piece));
    req.once("end", () => end());
    req.once("error", onGone);
    req.once("close", onGone);
  }

  #take(piece: Buffer): void {
    // Reads the rest of the body and discards it.
    if (this.#isEnded || this.#fault) return;
    try {
      this.#buffer.append(piece);
      if (this.#buffer.length > aheadBytesMax) throw tooFarAhead();
      if (this.#isTooLarge()) throw tooLarge();
    } catch (error) {
      this.#fault = error instanceof ConnectError ? error : this.#toConnectError(error);
    }
    if (this.#fault || this.#hasEnvelope()) this.#wake?.();
  }

  #hasEnvelope(): boolean {
    return this.#buffer.length >= this.#wantedBytes();
  }

  #isTooLarge(): boolean {
    return this.#wantedBytes() > envelopeBytes + requestBytesMax;
  }

  /** The length of the next envelope, or of its head while that is incomplete. */
  #wantedBytes(): number {
    if (this.#buffer.length < envelopeBytes) return envelopeBytes;
    return envelopeBytes + announcedBytes(this.#buffer.bytes);
  }
}

function tooFarAhead(): ConnectError {
  return new ConnectError(
    `more than ${aheadBytesMax} bytes were sent ahead of the answers`,
    Code.ResourceExhausted,
  );
}
