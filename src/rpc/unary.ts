/**
 * Reads the request of a unary rpc before Connect does, so that what is wrong with it is answered in
 * our own words. Connect's own answers to a body that cannot be parsed have the wrong code, quote
 * the request, or never come. Depends on auth and Connect.
 */
import { promisify } from "node:util";
import { brotliDecompress, gunzip, type ZlibOptions } from "node:zlib";
import {
  fromBinary,
  fromJson,
  type DescMessage,
  type JsonValue,
  type MessageShape,
} from "@bufbuild/protobuf";
import { configureTextEncoding, getTextEncoding } from "@bufbuild/protobuf/wire";
import { Code, ConnectError } from "@connectrpc/connect";
import { compressionBrotli, compressionGzip } from "@connectrpc/connect-node";
import { argumentFaultMessages } from "../auth/errors.js";
import { parseJson } from "../auth/json.js";

/** Largest request message, in bytes, as sent and as decompressed. */
export const messageBytesMax = 65_536;
/** The envelope of gRPC and gRPC-Web: a byte of flags and four of length. */
export const envelopeBytes = 5;

export const compressions = [compressionGzip, compressionBrotli];
const decompressors: Readonly<
  Record<string, (data: Uint8Array, options: ZlibOptions) => Promise<Buffer>>
> = {
  gzip: promisify(gunzip),
  br: promisify(brotliDecompress),
};

/** How a content type frames and encodes the message; undefined where Connect is to refuse it. */
export interface Framing {
  readonly enveloped: boolean;
  readonly json: boolean;
}

const contentTypeForm =
  /^application\/(?:(grpc(?:-web)?)(?:\+(?:(json)(?:; ?charset=utf-?8)?|proto))?|(json)(?:; ?charset=utf-?8)?|proto)$/i;

export function framingOf(contentType: string | undefined): Framing | undefined {
  const match = contentTypeForm.exec(contentType ?? "");
  if (match === null) return undefined;
  return { enveloped: match[1] !== undefined, json: (match[2] ?? match[3]) !== undefined };
}

/** A body of that framing that holds an empty message. */
export function emptyBody({ enveloped, json }: Framing): Uint8Array {
  const message = json ? [0x7b, 0x7d] : [];
  return Uint8Array.from(enveloped ? [0, 0, 0, 0, message.length, ...message] : message);
}

/** Name of the header that tells how the message is compressed. */
export function compressionHeader({ enveloped }: Framing): string {
  return enveloped ? "grpc-encoding" : "content-encoding";
}

/**
 * The message in a body, or undefined where the framing itself is at fault: Connect's answers to
 * that are right.
 *
 * @throws ConnectError `invalid_argument`, `resource_exhausted` or `unimplemented`.
 */
export async function readUnaryMessage<Input extends DescMessage>(
  input: Input,
  framing: Framing,
  encoding: string | undefined,
  body: Uint8Array,
): Promise<MessageShape<Input> | undefined> {
  const decompress = decompressors[encoding ?? "identity"];
  if (decompress === undefined && encoding !== undefined && encoding !== "identity") {
    throw new ConnectError("unknown compression; gzip and br are known", Code.Unimplemented);
  }
  let message = body;
  let isCompressed = decompress !== undefined;
  if (framing.enveloped) {
    if (body.length < envelopeBytes) return undefined;
    const envelope = new DataView(body.buffer, body.byteOffset, envelopeBytes);
    if (envelope.getUint32(1) !== body.length - envelopeBytes) return undefined;
    if (envelope.getUint8(0) > 1) return undefined;
    isCompressed = envelope.getUint8(0) === 1;
    message = body.subarray(envelopeBytes);
  }
  if (isCompressed) {
    if (decompress === undefined) return undefined;
    message = await decompress(message, { maxOutputLength: messageBytesMax }).catch(unreadable);
  }
  if (message.length > messageBytesMax) throw tooLarge();
  try {
    return framing.json
      ? fromJson(input, parseJson(message) as JsonValue, { ignoreUnknownFields: true })
      : fromBinary(input, message);
  } catch (error) {
    return unreadable(error);
  }
}

export function tooLarge(): ConnectError {
  return new ConnectError(
    `the request message is larger than ${messageBytesMax} bytes`,
    Code.ResourceExhausted,
  );
}

function unreadable(error: unknown): never {
  if ((error as { code?: unknown }).code === "ERR_BUFFER_TOO_LARGE") throw tooLarge();
  throw new ConnectError(argumentFaultMessages.unparsable, Code.InvalidArgument);
}

/**
 * Makes the binary decoder keep a byte order mark at the start of a string. By default it is dropped,
 * so that one username would have two spellings over protobuf and one over JSON.
 */
export function keepByteOrderMarks(): void {
  const lenient = new TextDecoder("utf-8", { ignoreBOM: true });
  const strict = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });
  configureTextEncoding({
    ...getTextEncoding(),
    decodeUtf8: (bytes, isStrict) => (isStrict ? strict : lenient).decode(bytes),
  });
}
