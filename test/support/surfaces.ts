/**
 * Everything that the two ports answer, as a table, for what must hold on every path and protocol.
 */
import { createMethodUrl } from "@connectrpc/connect/protocol";
import { AuthService } from "../../gen/auth/v1/auth_pb.js";
import { Health } from "../../gen/grpc/health/v1/health_pb.js";
import { ServerReflection } from "../../gen/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as ServerReflectionV1alpha } from "../../gen/grpc/reflection/v1alpha/reflection_pb.js";
import type { KeySet } from "../../src/auth/keys/keys.js";
import { createDocumentRoutes } from "../../src/gateway/documents.js";
import { flag, frame, frameType, headerBlock } from "./http2-frames.js";

export interface Surface {
  readonly port: "public" | "management";
  readonly method: string;
  readonly path: string;
  readonly contentType: string;
  /** Whether messages have the envelope of gRPC. */
  readonly isEnveloped: boolean;
  /** Whether it is the first of its path in this table. */
  readonly isFirst: boolean;
}

const issuer = "https://id.example/tenant";
/** Everything is on, and the issuer has a path, so that all documents are served. */
export const everythingOn = { TOKEN_ISSUER: issuer, API_PAGE: "on", REVOCATIONS: "on" };

const unaryTypes = ["json", "proto", "grpc", "grpc+json", "grpc-web", "grpc-web+json"];
const streamTypes = ["connect+json", "connect+proto", ...unaryTypes.slice(2)];

function rest(path: string, method: string, port: Surface["port"] = "public"): Surface {
  const contentType = "application/json";
  return { port, method, path, contentType, isEnveloped: false, isFirst: true };
}

const noKeys: KeySet = {
  signingKey: () => Promise.reject(new Error("no key")),
  verificationKeys: () => Promise.resolve([]),
  published: () => Promise.resolve(undefined),
};
const documents = createDocumentRoutes(noKeys, issuer);
const rpcs = [AuthService, Health, ServerReflection, ServerReflectionV1alpha].flatMap(
  ({ methods }) => methods,
);

const pages = ["/", "/openapi.json", "/openapi.yaml", "/page/api-page.js"];
const readable = [...documents.map(({ path }) => path), "/.well-known/revocations", ...pages];

export const surfaces: readonly Surface[] = [
  ...["/api/auth/token", "/api/v1/authentication/login", "/unknown"].flatMap((path) =>
    ["POST", "GET"].map((method) => rest(path, method)),
  ),
  ...readable.flatMap((path) => ["GET", "POST"].map((method) => rest(path, method))),
  ...rpcs.flatMap((method) =>
    [...(method.methodKind === "unary" ? unaryTypes : streamTypes), "unknown"].map(
      (type, i): Surface => ({
        port: "public",
        method: "POST",
        path: createMethodUrl("/", method),
        contentType: `application/${type}`,
        isEnveloped: /grpc|connect/.test(type),
        isFirst: i === 2,
      }),
    ),
  ),
  ...["/", "/livez", "/readyz", "/metrics", "/unknown"].map((path) =>
    rest(path, "GET", "management"),
  ),
];

/** A body of this many bytes. It is no valid message, but only its last byte can show that. */
export function bodyOf({ isEnveloped }: Surface, length: number): Buffer {
  const body = Buffer.alloc(length, " ");
  if (isEnveloped) {
    body.writeUInt8(0, 0);
    body.writeUInt32BE(length, 1);
  }
  return body;
}

/** The request over HTTP/1.1, its body in chunks of one byte. `isWhole` also sends the end. */
export function inChunks(surface: Surface, body: Buffer, isWhole: boolean): Buffer {
  const { method, path, contentType } = surface;
  const head =
    `${method} ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: ${contentType}\r\n` +
    "Transfer-Encoding: chunked\r\n\r\n";
  const chunks = Buffer.alloc(6 * body.length);
  for (const [i, byte] of body.entries()) {
    chunks.write("1\r\n", 6 * i, "latin1");
    chunks.writeUInt8(byte, 6 * i + 3);
    chunks.write("\r\n", 6 * i + 4, "latin1");
  }
  return Buffer.concat([Buffer.from(head), chunks, Buffer.from(isWhole ? "0\r\n\r\n" : "")]);
}

/** The same over HTTP/2, in DATA frames of one byte on the first stream. */
export function inFrames(surface: Surface, body: Buffer, isWhole: boolean): Buffer {
  const { method, path, contentType } = surface;
  const block = headerBlock({ ":method": method, ":path": path, "content-type": contentType });
  const frames = Array.from(body, (byte, i) =>
    frame(
      frameType.data,
      isWhole && i === body.length - 1 ? flag.endStream : 0,
      1,
      Buffer.from([byte]),
    ),
  );
  return Buffer.concat([frame(frameType.headers, flag.endHeaders, 1, block), ...frames]);
}
