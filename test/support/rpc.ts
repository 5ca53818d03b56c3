/** Generated clients for every protocol and transport that the service speaks. */
import { createClient, type Client, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { AuthService } from "../../gen/auth/v1/auth_pb.js";

export const transports: Readonly<Record<string, (baseUrl: string) => Transport>> = {
  "Connect, binary, HTTP/1.1": (baseUrl) =>
    createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: true }),
  "Connect, JSON, HTTP/1.1": (baseUrl) =>
    createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
  "Connect, binary, h2c": (baseUrl) =>
    createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: true }),
  "Connect, JSON, h2c": (baseUrl) =>
    createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: false }),
  "gRPC, binary, h2c": (baseUrl) => createGrpcTransport({ baseUrl }),
  "gRPC, JSON, h2c": (baseUrl) => createGrpcTransport({ baseUrl, useBinaryFormat: false }),
  "gRPC-Web, binary, HTTP/1.1": (baseUrl) =>
    createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
  "gRPC-Web, JSON, HTTP/1.1": (baseUrl) =>
    createGrpcWebTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
  "gRPC-Web, binary, h2c": (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "2" }),
};

export function createAuthClient(transport: Transport): Client<typeof AuthService> {
  return createClient(AuthService, transport);
}
