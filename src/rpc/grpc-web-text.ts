/**
 * gRPC-Web's text format: base64 around the bytes of gRPC-Web, for browsers that cannot read bytes as they
 * come. A sender may cut it anywhere and pad each piece. Depends on auth's limits, its neighbour
 * `envelopes.ts` and Connect.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import { argumentFaultMessages } from "../auth/errors.js";
import { requestBytesMax } from "../auth/limits.js";

/** Largest body that is read; base64 takes a third more than the message, padded pieces more again. */
export const textBytesMax = 2 * requestBytesMax;

const typeForm = /^application\/grpc-web-text(?=\+proto$|$)/i;

export const isText = (contentType: string | undefined) => typeForm.test(contentType ?? "");

/** The content type of the same message without base64. */
export const binaryTypeOf = (contentType: string) =>
  contentType.replace(typeForm, "application/grpc-web");

export const textTypeOf = (contentType: string) =>
  contentType.replace(/^application\/grpc-web(?!-text)/, "application/grpc-web-text");

const wholePieces =
  /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:[A-Za-z0-9+/]=|==)(?:[A-Za-z0-9+/]{4})*)*$/;

/** @throws ConnectError `invalid_argument` where it is no base64. */
export function decodeText(bytes: Uint8Array): Buffer {
  const text = Buffer.from(bytes).toString("latin1");
  if (!wholePieces.test(text)) {
    throw new ConnectError(argumentFaultMessages.unparsable, Code.InvalidArgument);
  }
  const pieces = text.match(/[^=]+=*/g) ?? [];
  return Buffer.concat(pieces.map((piece) => Buffer.from(piece, "base64")));
}

export function encodeText(bytes: Uint8Array): Buffer {
  return Buffer.from(Buffer.from(bytes).toString("base64"), "latin1");
}

export async function* encodeEach(pieces: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  for await (const piece of pieces) yield encodeText(piece);
}
