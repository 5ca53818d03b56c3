/**
 * HTTP/2 frames by hand (RFC 9113 section 4.1), for clients that behave as no library would.
 */
import { openSocket, type RawSocket } from "./listener.js";

export const frameType = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;
export const flag = { ack: 1, endStream: 1, endHeaders: 4 } as const;

export function frame(
  type: number,
  flags: number,
  streamId: number,
  payload: Buffer | string = "",
): Buffer {
  const body = Buffer.from(payload as string);
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, body]);
}

export function uint32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(value);
  return buffer;
}

/** A header block of literals, nothing indexed (RFC 7541 section 6.2.2). */
export function headerBlock(fields: Readonly<Record<string, string>> = {}): Buffer {
  const all = { ":method": "POST", ":scheme": "http", ":path": "/", ":authority": "a", ...fields };
  return Buffer.concat(
    Object.entries(all).flatMap(([name, value]) => [
      Buffer.from([0]),
      hpackInteger(name.length),
      Buffer.from(name, "latin1"),
      hpackInteger(value.length),
      Buffer.from(value, "latin1"),
    ]),
  );
}

/** With a 7-bit prefix (RFC 7541 section 5.1). */
function hpackInteger(value: number): Buffer {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

export const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

export interface RawHttp2 extends RawSocket {
  readonly frames: () => Frame[];
}

/**
 * Opens a connection and sends the preface and SETTINGS. With `ack`, the default, it acknowledges
 * the server's SETTINGS and PINGs.
 */
export function openHttp2(port: number, { settings = Buffer.alloc(0), ack = true } = {}): RawHttp2 {
  const raw = openSocket(port);
  const acknowledge = () => raw.socket.write(frame(frameType.settings, flag.ack, 0));
  raw.socket.write(Buffer.concat([preface, frame(frameType.settings, 0, 0, settings)]));
  if (ack) raw.socket.once("data", acknowledge);
  let seen = 0;
  const pong = () => {
    const frames = parseFrames(raw.received());
    const pings = frames.slice(seen).filter(({ type, flags }) => type === frameType.ping && !flags);
    seen = frames.length;
    for (const { payload } of pings) raw.socket.write(frame(frameType.ping, flag.ack, 0, payload));
  };
  if (ack) raw.socket.on("data", pong);
  return { ...raw, frames: () => parseFrames(raw.received()) };
}

function parseFrames(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at + 9 <= bytes.length;) {
    const end = at + 9 + bytes.readUIntBE(at, 3);
    if (end > bytes.length) break;
    const streamId = bytes.readUInt32BE(at + 5);
    const payload = bytes.subarray(at + 9, end);
    frames.push({
      type: bytes.readUInt8(at + 3),
      flags: bytes.readUInt8(at + 4),
      streamId,
      payload,
    });
    at = end;
  }
  return frames;
}
