/**
 * Messages in envelopes, as gRPC, gRPC-Web and Connect's streams frame them: a byte of flags, four of length,
 * the message. Depends on auth's limits, the HTTP exchange and Connect.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import { requestBytesMax } from "../auth/limits.js";
import { BodyBuffer, type HeadCheck } from "../server/body.js";
import type { Exchange } from "../server/exchange.js";

export const envelopeBytes = 5;

/** How far a client may send ahead of the answers to it. */
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

/** Refuses a message by the length that its envelope announces. */
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
 * The envelopes of a request's body, each whole, however they were cut. Connect reads them at no more than
 * their length; its own reader sums up all pieces of a message at each piece (connect-es 2.1 to 2.3,
 * `EnvelopeDecoderImpl`). What comes is read at once and copied: pieces left in node's buffers cost a
 * hundred times their length.
 *
 * @param toConnectError what the caller gets to see of an error that is not Connect's.
 */
export function readEnvelopes(
  exchange: Exchange,
  toConnectError: (error: unknown) => ConnectError,
): AsyncIterable<Uint8Array> {
  // Read from the first `next` on: what Connect refuses by its headers is not read at all.
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
    // Connect says what is wrong with an envelope that stops short.
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
    // The rest is thrown away.
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

  /** How many bytes the next envelope takes, as far as it is known. */
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
