/** Runs in the page of another origin: calls rpcs with connect-web. */
import { fromBinary, type DescMethodUnary } from "@bufbuild/protobuf";
import { EmptySchema } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { AuthService } from "../../gen/auth/v1/auth_pb.js";
import { Health } from "../../gen/grpc/health/v1/health_pb.js";
import type { RpcCall } from "./rpc-calls.js";

const transports = {
  "Connect in JSON": (baseUrl: string) => createConnectTransport({ baseUrl }),
  "Connect in binary": (baseUrl: string) =>
    createConnectTransport({ baseUrl, useBinaryFormat: true }),
  "gRPC-Web": (baseUrl: string) => createGrpcWebTransport({ baseUrl }),
};
export type TransportName = keyof typeof transports;

export interface WebAnswer {
  readonly code: number;
  /** Whether the page can read the headers of the answer. */
  readonly hasRequestId: boolean;
}

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const known: readonly DescMethodUnary[] = [
  AuthService.method.login,
  AuthService.method.issueToken,
  Health.method.check,
];

/** The rpc and its message. What no stub can send goes as the unknown fields of an empty message. */
function parse(path: string, bytes: Uint8Array<ArrayBuffer>) {
  const [, typeName = "", name = ""] = path.split("/");
  const method = known.find((one) => one.parent.typeName === typeName && one.name === name);
  try {
    if (method) return { method, message: fromBinary(method.input, bytes) };
  } catch {
    // Handled below.
  }
  const parent = { ...AuthService, typeName };
  const made: DescMethodUnary = { ...AuthService.method.login, parent, name, input: EmptySchema };
  return { method: made, message: fromBinary(EmptySchema, bytes) };
}

async function call(transport: Transport, { path, message, authorization }: RpcCall) {
  const bytes = Uint8Array.from(atob(message), (character) => character.charCodeAt(0));
  const headers = { traceparent, ...(authorization !== "" && { authorization }) };
  const rpc = parse(path, bytes);
  try {
    const { header } = await transport.unary(rpc.method, undefined, 20_000, headers, rpc.message);
    return { code: 0, hasRequestId: header.has("x-request-id") };
  } catch (error) {
    const { code, metadata } = ConnectError.from(error);
    return { code, hasRequestId: metadata.has("x-request-id") };
  }
}

const page = {
  async callAll(name: TransportName, baseUrl: string, calls: readonly RpcCall[]) {
    const answers: WebAnswer[] = [];
    for (const one of calls) answers.push(await call(transports[name](baseUrl), one));
    return answers;
  },
  /** The first status of a stream, which is given up then. */
  async watch(name: TransportName, baseUrl: string) {
    for await (const { status } of createClient(Health, transports[name](baseUrl)).watch({})) {
      return status;
    }
    return undefined;
  },
};
export type WebPage = typeof page;

Object.assign(globalThis, { page });
