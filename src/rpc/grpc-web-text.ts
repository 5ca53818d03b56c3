/**
 * gRPC-Web's text format: the bytes of gRPC-Web in base64, for browsers that cannot read a binary
 * stream. A sender may cut the text anywhere and pad each piece. Depends on auth's limits, its
 * neighbour `envelopes.ts` and Connect.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import { argumentFaultMessages } from "../auth/errors.js";
import { requestBytesMax } from "../auth/limits.js";

/** The largest body. Base64 adds a third to the message, and padded pieces add more. */
export const textBytesMax = 2 * requestBytesMax;

const typeForm = /^application\/grpc-web-text(?=\+proto$|$)/i;

export const isText = (contentType: string | undefined) => typeForm.test(contentType ?? "");

/** The content type of the same message in binary. */
export const binaryTypeOf = (contentType: string) =>
  contentType.replace(typeForm, "application/grpc-web");

export const textTypeOf = (contentType: string) =>
  contentType.replace(/^application\/grpc-web(?!-text)/, "application/grpc-web-text");

const wholePieces =
  /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:[A-Za-z0-9+/]=|==)(?:[A-Za-z0-9+/]{4})*)*$/;

/** @throws ConnectError `invalid_argument` if the text is not base64 */
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
