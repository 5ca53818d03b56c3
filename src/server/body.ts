/**
 * Reads request bodies. Copies each piece into one buffer at once, so that many small pieces cost
 * no more memory than one large one, and bounds the bytes of all requests together. Depends on
 * auth's errors and on node.
 */
import type { IncomingMessage } from "node:http";
import type { Http2ServerRequest } from "node:http2";
import { AuthError } from "../auth/errors.js";

type Request = IncomingMessage | Http2ServerRequest;

/** Bytes that all requests of a process may hold together. */
const roomBytesMax = 32 * 1_048_576;

/**
 * Bytes that a request may hold without asking; its headers may take as many. So logins always find
 * room.
 */
const freeBytes = 4096;

/** The memory that request bodies and the answers of streams share. */
export class Room {
  #bytesLeft: number;

  constructor(bytesMax = roomBytesMax) {
    this.#bytesLeft = bytesMax;
  }

  /** @throws AuthError `overloaded` if too little is left */
  take(bytes: number): void {
    if (bytes > this.#bytesLeft) {
      throw new AuthError("overloaded", "no room for bodies", { retryAfterSeconds: 1 });
    }
    this.#bytesLeft -= bytes;
  }

  give(bytes: number): void {
    this.#bytesLeft += bytes;
  }
}

/** One request's part of the room. */
export class Share {
  readonly #room: Room;
  #held = 0;
  #isOver = false;

  constructor(room: Room) {
    this.#room = room;
  }

  /** @throws AuthError `overloaded` */
  take(bytes: number): void {
    if (this.#isOver || bytes <= freeBytes) return;
    this.#room.take(bytes);
    this.#held += bytes;
  }

  give(bytes: number): void {
    if (this.#isOver || bytes <= freeBytes) return;
    this.#room.give(bytes);
    this.#held -= bytes;
  }

  /** Gives everything back. Later calls of `take` take nothing. */
  release(): void {
    this.#room.give(this.#held);
    this.#held = 0;
    this.#isOver = true;
  }
}

const noBytes = Buffer.alloc(0);
const capacityMin = 64;

/** A queue of bytes. It grows with the bytes that arrive, not with the announced length. */
export class BodyBuffer {
  readonly #share: Share;
  #memory: Buffer = noBytes;
  #start = 0;
  #end = 0;

  constructor(share: Share) {
    this.#share = share;
  }

  get length(): number {
    return this.#end - this.#start;
  }

  /** Valid until the next call of another method. */
  get bytes(): Buffer {
    return this.#memory.subarray(this.#start, this.#end);
  }

  /** @throws AuthError `overloaded` */
  append(piece: Uint8Array): void {
    if (this.#end + piece.length > this.#memory.length) this.#makeRoom(this.length + piece.length);
    this.#memory.set(piece, this.#end);
    this.#end += piece.length;
  }

  /** Removes that many bytes from the front and returns them. */
  shift(length: number): Buffer {
    const bytes = Buffer.from(this.bytes.subarray(0, length));
    this.#start += length;
    if (this.length === 0) this.clear();
    return bytes;
  }

  clear(): void {
    this.#share.give(this.#memory.length);
    this.#memory = noBytes;
    this.#start = this.#end = 0;
  }

  #makeRoom(length: number): void {
    const { bytes } = this;
    // At least half of the bytes were taken since the last move, so moves cost no more than takes.
    const fits = length <= this.#memory.length / 2;
    const target = fits ? this.#memory : this.#grown(length);
    target.set(bytes);
    if (!fits) this.#share.give(this.#memory.length);
    this.#memory = target;
    this.#start = 0;
    this.#end = bytes.length;
  }

  #grown(length: number): Buffer {
    const capacity = Math.max(length, 2 * this.#memory.length, capacityMin);
    this.#share.take(capacity);
    return Buffer.allocUnsafe(capacity);
  }
}

/**
 * The body is larger than allowed. The listener bounds how much of the rest is read and discarded.
 */
export class BodyTooLarge extends Error {}

/** The client left before its request was complete: nobody waits for an answer. */
export class ClientGone extends Error {}

/**
 * How much of a body that is too large is read, and for how long, before the refusal: a client that
 * is answered while it sends may never read the answer.
 */
const refusedBytesMax = 1_048_576;
const refusedTimeoutMs = 500;

/** Judges a body by its first bytes. */
export interface HeadCheck {
  readonly bytes: number;
  /** Called once, with `bytes` bytes or more. */
  announcesTooMuch(head: Buffer): boolean;
}

/** @throws BodyTooLarge @throws ClientGone @throws AuthError `overloaded` */
export function readBody(
  req: Request,
  share: Share,
  bytesMax: number,
  headCheck?: HeadCheck,
): Promise<Buffer> {
  if (!hasBody(req)) return Promise.resolve(noBytes);
  return new Promise((resolve, reject) => {
    const body = new BodyBuffer(share);
    const announced = Number(req.headers["content-length"]);
    let whole: Buffer | undefined;
    let isHeadUnseen = headCheck !== undefined;
    let length = 0;
    let timer: NodeJS.Timeout | undefined;

    const refuse = (error: Error) => {
      clearTimeout(timer);
      req.off("data", onData).resume();
      body.clear();
      reject(error);
    };
    const tooLarge = (bytes: number) => {
      if (bytes > refusedBytesMax) refuse(new BodyTooLarge());
      else refuseSoon();
    };
    const refuseSoon = () => {
      body.clear();
      timer ??= setTimeout(() => refuse(new BodyTooLarge()), refusedTimeoutMs);
    };
    const keep = (piece: Buffer) => {
      if (piece.length === announced) {
        share.take(piece.length);
        whole = piece;
      } else body.append(piece);
      if (headCheck === undefined || !isHeadUnseen || length < headCheck.bytes) return;
      isHeadUnseen = false;
      if (headCheck.announcesTooMuch(whole ?? body.bytes)) refuseSoon();
    };
    const onData = (piece: Buffer) => {
      length += piece.length;
      if (length > bytesMax) tooLarge(length);
      else if (timer === undefined) {
        try {
          keep(piece);
        } catch (error) {
          refuse(error as Error);
        }
      }
    };
    const onGone = () => {
      clearTimeout(timer);
      // Every request closes in the end, and creating an error costs time: only an incomplete one
      // gets it.
      if (!req.complete || req.errored) reject(new ClientGone());
    };

    if (announced > bytesMax) {
      tooLarge(announced);
      if (timer === undefined) return;
    }
    req.on("data", onData);
    req.once("end", () => {
      if (length > bytesMax || timer !== undefined) refuse(new BodyTooLarge());
      else resolve(whole ?? body.bytes);
    });
    req.once("error", onGone);
    req.once("close", onGone);
  });
}

/** Whether the request has a body (RFC 9112 section 6.3; RFC 9113 section 8.1: END_STREAM). */
function hasBody(req: Request): boolean {
  if ("stream" in req) return !req.stream.endAfterHeaders;
  const { "content-length": length, "transfer-encoding": encoding } = req.headers;
  return encoding !== undefined || (length !== undefined && length !== "0");
}
