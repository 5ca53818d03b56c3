/** Raw gRPC calls over h2c: any bytes in, every header and trailer out. */
import { connect, type IncomingHttpHeaders, type OutgoingHttpHeaders } from "node:http2";

export interface GrpcReply {
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** The message in the envelope of gRPC (and gRPC-Web). */
export function envelope(message: Uint8Array | string, flags = 0): Buffer {
  const bytes = Buffer.from(message);
  const head = Buffer.alloc(5);
  head.writeUInt8(flags, 0);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

export function callGrpc(
  baseUrl: string,
  path: string,
  body: Uint8Array,
  headers: OutgoingHttpHeaders = {},
): Promise<GrpcReply> {
  return new Promise((resolve, reject) => {
    const session = connect(baseUrl);
    session.once("error", reject);
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
    const reply: { headers: IncomingHttpHeaders; trailers: IncomingHttpHeaders } = {
      headers: {},
      trailers: {},
    };
    const chunks: Buffer[] = [];
    stream.once("response", (received) => (reply.headers = received));
    stream.once("trailers", (received: IncomingHttpHeaders) => (reply.trailers = received));
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.once("error", reject);
    stream.once("close", () => {
      session.close();
      resolve({ ...reply, body: Buffer.concat(chunks) });
    });
    stream.end(body);
  });
}
