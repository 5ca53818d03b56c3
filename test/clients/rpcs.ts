/** What rpc clients of other makes call, and the code that each of them must read. */
import { create, toBinary } from "@bufbuild/protobuf";
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
export const named = (codes: readonly number[]) => table.map(([row], i) => `${row}: ${codes[i]}`);
export const expectedCodes = named(table.map((row) => row[4]));
