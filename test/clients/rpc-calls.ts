/** What rpc clients of other makes call, and the code that each of them must read. */
import { create, toBinary } from "@bufbuild/protobuf";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { expect } from "@jest/globals";
import { LoginRequestSchema } from "../../gen/auth/v1/auth_pb.js";

export interface RpcCall {
  readonly path: string;
  /** In base64. */
  readonly message: string;
  readonly authorization: string;
}

const loginPath = "/auth.v1.AuthService/Login";
const issuePath = "/auth.v1.AuthService/IssueToken";
const login = (username: string, password: string) =>
  toBinary(LoginRequestSchema, create(LoginRequestSchema, { username, password }));

const table: readonly (readonly [string, string, Uint8Array, string, number])[] = [
  ["a login", loginPath, login("TestUser", "password"), "", 0],
  ["a wrong password", loginPath, login("TestUser", "no"), "", 16],
  ["a message without a user", loginPath, login("", ""), "", 3],
  ["an unparsable message", loginPath, Buffer.from([8, 1]), "", 3],
  ["a message too large", loginPath, login("a".repeat(70_000), "a"), "", 8],
  ["an unknown method", "/auth.v1.AuthService/Nope", login("a", "b"), "", 12],
  ["an unknown service", "/a.b.C/D", login("a", "b"), "", 12],
  ["a credential", issuePath, Buffer.alloc(0), "Basic VGVzdFVzZXI6cGFzc3dvcmQ=", 0],
  ["no credential", issuePath, Buffer.alloc(0), "", 16],
  ["an over-long credential", issuePath, Buffer.alloc(0), `Bearer ${"a".repeat(9000)}`, 16],
  ["one past the header limit", issuePath, Buffer.alloc(0), `Bearer ${"a".repeat(20_000)}`, 16],
  ["health", "/grpc.health.v1.Health/Check", Buffer.alloc(0), "", 0],
  ["an unknown service's health", "/grpc.health.v1.Health/Check", Buffer.from("\n\x01x"), "", 5],
];

export const rpcCalls: readonly RpcCall[] = table.map(([, path, message, authorization]) => ({
  path,
  message: Buffer.from(message).toString("base64"),
  authorization,
}));

/** @param exceptions the codes of rows that a client or a proxy changes */
export function expectCodes(
  codes: readonly number[],
  exceptions: Readonly<Record<string, number>> = {},
): void {
  const named = (values: readonly number[]) => table.map(([row], i) => `${row}: ${values[i]}`);
  const expected = table.map(([row, , , , code]) => exceptions[row] ?? code);
  expect(named(codes)).toEqual(named(expected));
}

/** The codes that grpc-js reads from a server, or from a proxy in front of it. */
export async function codesOfGrpcJs(url: string): Promise<number[]> {
  const client = new Client(new URL(url).host, credentials.createInsecure());
  const bytes = (value: Buffer) => value;
  const codes: number[] = [];
  for (const { path, message, authorization } of rpcCalls) {
    const metadata = new Metadata();
    if (authorization !== "") metadata.set("authorization", authorization);
    const request = Buffer.from(message, "base64");
    const code = await new Promise<number>((resolve) => {
      client.makeUnaryRequest(path, bytes, bytes, request, metadata, (error) =>
        resolve(error?.code ?? 0),
      );
    });
    codes.push(code);
  }
  client.close();
  return codes;
}
