/**
 * Unary rpcs over Connect, gRPC and gRPC-Web: reads the request, calls the implementation, writes the answer.
 * Connect's own path does the same through streams, which makes a token cost half as much again;
 * `createRpcHandler({ fastUnary: false })` takes it. No interceptor runs here. Other requests (GET, other
 * content types, faults of the envelope) are left to Connect.
 *
 * Connect 2.1.2 with protobuf-es 2.13.0 answers differently, as test/e2e/stock-connect.test.ts shows:
 * - its errors quote what could not be parsed, an unknown compression and a malformed deadline;
 * - a malformed protobuf message is `internal`, not `invalid_argument`;
 * - a compressed message past the limit is `internal`, not `resource_exhausted`;
 * - gRPC and gRPC-Web with JSON get status 500 for a bad escape before an emoji, and no grpc-status.
 *
 * Depends on auth, the HTTP exchange, its neighbours and Connect.
 */
import type { IncomingHttpHeaders } from "node:http";
import { promisify } from "node:util";
import { brotliDecompress, gunzip, type ZlibOptions } from "node:zlib";
import {
  create,
  fromBinary,
  fromJson,
  toBinary,
  toJsonString,
  type DescMessage,
  type DescMethodUnary,
  type JsonReadOptions,
  type JsonValue,
  type JsonWriteOptions,
  type Message,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { configureTextEncoding, getTextEncoding } from "@bufbuild/protobuf/wire";
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import {
  codeToHttpStatus,
  codeToString,
  errorToJsonBytes,
  trailerMux,
} from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { trailerFlag, trailerSerialize } from "@connectrpc/connect/protocol-grpc-web";
import { argumentFaultMessages } from "../auth/errors.js";
import { parseJson } from "../auth/json.js";
import { requestBytesMax } from "../auth/limits.js";
import { BodyTooLarge, ClientGone } from "../server/body.js";
import type { Answer, Exchange } from "../server/exchange.js";
import { envelope, envelopeBytes, envelopeCheck, tooLarge } from "./envelopes.js";
import { binaryTypeOf, decodeText, encodeText, isText, textBytesMax } from "./grpc-web-text.js";
import { UnaryContext } from "./unary-context.js";

/** How a content type frames and encodes the message. */
export interface Framing {
  readonly protocol: "connect" | "grpc" | "grpc-web";
  readonly json: boolean;
  /** Whether the whole body is in base64: see grpc-web-text. */
  readonly text: boolean;
}

const contentTypeForm =
  /^application\/(?:(grpc(?:-web)?)(?:\+(?:(json)(?:; ?charset=utf-?8)?|proto))?|(json)(?:; ?charset=utf-?8)?|proto)$/i;

/** Returns undefined for a content type that Connect has to refuse. */
export function framingOf(contentType: string | undefined): Framing | undefined {
  const text = contentType !== undefined && isText(contentType);
  const match = contentTypeForm.exec(text ? binaryTypeOf(contentType) : (contentType ?? ""));
  if (match === null) return undefined;
  const protocol = (match[1]?.toLowerCase() ?? "connect") as Framing["protocol"];
  return { protocol, json: (match[2] ?? match[3]) !== undefined, text };
}

export interface UnaryRpc {
  readonly method: DescMethodUnary;
  readonly jsonOptions: Partial<JsonReadOptions & JsonWriteOptions> | undefined;
  readonly call: (
    message: Message,
    context: HandlerContext,
  ) => Promise<MessageInitShape<DescMessage>> | MessageInitShape<DescMessage>;
}

/**
 * Returns the answer to a request, or its body if Connect must decide.
 * @param toConnectError turns an error that is not Connect's into the one that the caller sees
 * @throws ClientGone
 */
export async function answerUnary(
  { method, jsonOptions, call }: UnaryRpc,
  framing: Framing,
  exchange: Exchange,
  toConnectError: (error: unknown) => ConnectError,
): Promise<Answer | { readonly leftToConnect: Uint8Array }> {
  const context = new UnaryContext(method, framing.protocol, exchange);
  try {
    const timeoutMs = readTimeoutMs(framing, exchange.req.headers);
    const body = await readFramed(framing, exchange);
    const bytes = await readMessageBytes(framing, exchange.req.headers, body);
    const message = bytes && parseMessage(method.input, framing, bytes, jsonOptions);
    if (message === undefined) return { leftToConnect: body };
    const output = await context.inTime(timeoutMs, async () => call(message, context));
    const answer = create(method.output, output);
    const encoded = framing.json
      ? Buffer.from(toJsonString(method.output, answer, jsonOptions))
      : toBinary(method.output, answer);
    exchange.outcome = "ok";
    return answerMessage(framing, encoded, context);
  } catch (error) {
    if (error instanceof ClientGone) throw error;
    const fault = error instanceof BodyTooLarge ? tooLarge() : error;
    const shown = fault instanceof ConnectError ? fault : toConnectError(fault);
    exchange.outcome ??= codeToString(shown.code);
    return answerError(framing, shown, jsonOptions, context);
  }
}

/** The longest time of a timer. A later deadline counts as none. */
const timeoutMsMax = 2 ** 31 - 1;
const msPer = { H: 3.6e6, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 } as const;

/** @throws ConnectError `invalid_argument` for a malformed deadline */
function readTimeoutMs({ protocol }: Framing, headers: IncomingHttpHeaders): number | undefined {
  const isConnect = protocol === "connect";
  const value = headers[isConnect ? "connect-timeout-ms" : "grpc-timeout"];
  if (value === undefined) return undefined;
  const form = isConnect ? /^(\d{1,10})$/ : /^(\d{1,8})([HMSmun])$/;
  const [, amount, unit = "m"] = form.exec(String(value)) ?? [];
  if (amount === undefined) throw new ConnectError("malformed deadline", Code.InvalidArgument);
  const timeoutMs = Number(amount) * msPer[unit as keyof typeof msPer];
  return timeoutMs > timeoutMsMax ? undefined : timeoutMs;
}

async function readFramed({ protocol, text }: Framing, exchange: Exchange): Promise<Uint8Array> {
  if (text) return decodeText(await exchange.readBody(textBytesMax));
  return protocol === "connect"
    ? exchange.readBody(requestBytesMax)
    : exchange.readBody(requestBytesMax + envelopeBytes, envelopeCheck);
}

const decompressors: Readonly<
  Record<string, (data: Uint8Array, options: ZlibOptions) => Promise<Buffer>>
> = {
  gzip: promisify(gunzip),
  br: promisify(brotliDecompress),
};

/**
 * Returns the decompressed message of a body, or undefined if the envelope is malformed.
 * @throws ConnectError `invalid_argument`, `resource_exhausted` or `unimplemented`
 */
async function readMessageBytes(
  { protocol }: Framing,
  headers: IncomingHttpHeaders,
  body: Uint8Array,
): Promise<Uint8Array | undefined> {
  const encoding = headers[protocol === "connect" ? "content-encoding" : "grpc-encoding"];
  const decompress = decompressors[String(encoding)];
  if (decompress === undefined && encoding !== undefined && encoding !== "identity") {
    const acceptable = protocol === "connect" ? "accept-encoding" : "grpc-accept-encoding";
    throw new ConnectError("unknown compression; gzip and br are known", Code.Unimplemented, {
      [acceptable]: Object.keys(decompressors).join(","),
    });
  }
  let message = body;
  let isCompressed = decompress !== undefined;
  if (protocol !== "connect") {
    if (body.length < envelopeBytes) return undefined;
    const envelope = new DataView(body.buffer, body.byteOffset, envelopeBytes);
    if (envelope.getUint32(1) !== body.length - envelopeBytes) return undefined;
    if (envelope.getUint8(0) > 1) return undefined;
    isCompressed = envelope.getUint8(0) === 1;
    message = body.subarray(envelopeBytes);
  }
  if (isCompressed && decompress === undefined) return undefined;
  if (isCompressed && decompress !== undefined && message.length > 0) {
    message = await decompress(message, { maxOutputLength: requestBytesMax }).catch(unreadable);
  }
  if (message.length > requestBytesMax) throw tooLarge();
  return message;
}

function parseMessage<Input extends DescMessage>(
  input: Input,
  { json }: Framing,
  bytes: Uint8Array,
  jsonOptions: UnaryRpc["jsonOptions"],
): MessageShape<Input> {
  try {
    return json
      ? fromJson(input, parseJson(bytes) as JsonValue, {
          ignoreUnknownFields: true,
          ...jsonOptions,
        })
      : fromBinary(input, bytes);
  } catch (error) {
    return unreadable(error);
  }
}

function unreadable(error: unknown): never {
  if ((error as { code?: unknown }).code === "ERR_BUFFER_TOO_LARGE") throw tooLarge();
  throw new ConnectError(argumentFaultMessages.unparsable, Code.InvalidArgument);
}

function answerMessage(
  framing: Framing,
  bytes: Uint8Array,
  { header, trailer }: UnaryContext,
): Answer {
  if (framing.protocol === "connect") {
    const muxed = trailer === undefined ? header : trailerMux(header ?? new Headers(), trailer);
    return { status: 200, headers: headersOf(framing, muxed), body: bytes };
  }
  return answerEnveloped(framing, header, envelope(0, bytes), trailersOf(trailer));
}

function answerError(
  framing: Framing,
  error: ConnectError,
  jsonOptions: UnaryRpc["jsonOptions"],
  { header = new Headers(), trailer = new Headers() }: UnaryContext,
): Answer {
  if (framing.protocol === "connect") {
    error.metadata.forEach((value, name) => header.set(name, value));
    return {
      status: codeToHttpStatus(error.code),
      headers: {
        ...headersOf(framing, trailerMux(header, trailer)),
        "content-type": "application/json",
      },
      body: errorToJsonBytes(error, jsonOptions),
    };
  }
  const trailers = Object.fromEntries(setTrailerStatus(trailer, error));
  return answerEnveloped(framing, header, new Uint8Array(), trailers);
}

/** gRPC sends the status in HTTP trailers, gRPC-Web in the last envelope of the body. */
function answerEnveloped(
  framing: Framing,
  header: Headers | undefined,
  body: Uint8Array,
  trailers: Readonly<Record<string, string>>,
): Answer {
  const headers = headersOf(framing, header);
  if (framing.protocol === "grpc") {
    // An answer without a message has its status among the headers ("Trailers-Only"): grpcio
    // accepts nothing else.
    if (body.length === 0) return { status: 200, headers: { ...headers, ...trailers } };
    return { status: 200, headers, body, trailers };
  }
  const last = envelope(trailerFlag, trailerSerialize(new Headers(trailers)));
  const frames = [body, last].map((bytes) => (framing.text ? encodeText(bytes) : bytes));
  return { status: 200, headers, body: Buffer.concat(frames) };
}

function trailersOf(trailer: Headers | undefined): Readonly<Record<string, string>> {
  return trailer === undefined ? statusOk : { ...Object.fromEntries(trailer), ...statusOk };
}
const statusOk = { "grpc-status": "0" };

function headersOf({ protocol, json, text }: Framing, header: Headers | undefined) {
  const prefix = protocol === "connect" ? "" : `${protocol}${text ? "-text" : ""}+`;
  const type = `application/${prefix}${json ? "json" : "proto"}`;
  return { ...(header && Object.fromEntries(header)), "content-type": type };
}

/**
 * Makes the binary decoder keep a byte order mark at the start of a string. The default drops it:
 * one username would then have two spellings over protobuf, and one over JSON.
 */
export function keepByteOrderMarks(): void {
  const lenient = new TextDecoder("utf-8", { ignoreBOM: true });
  const strict = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });
  configureTextEncoding({
    ...getTextEncoding(),
    decodeUtf8: (bytes, isStrict) => (isStrict ? strict : lenient).decode(bytes),
  });
}
