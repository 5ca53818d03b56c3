/** gRPC clients of other makes through one table: grpc-js, and grpcio from PyPI. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { create, toBinary } from "@bufbuild/protobuf";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { LoginRequestSchema } from "../../gen/auth/v1/auth_pb.js";
import { pythonPackage } from "../support/python.js";
import { startService, type RunningService } from "../support/service.js";
import { run, setupTimeoutMs } from "../support/toolchain.js";

const loginPath = "/auth.v1.AuthService/Login";
const issuePath = "/auth.v1.AuthService/IssueToken";
const login = (username: string, password: string) =>
  toBinary(LoginRequestSchema, create(LoginRequestSchema, { username, password }));

/** What is called with which message and credential, and the code that the client must read. */
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
const named = (codes: readonly number[]) => table.map(([row], i) => `${row}: ${codes[i]}`);
const expected = named(table.map((row) => row[4]));

let service: RunningService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.close());

describe("grpc-js", () => {
  test("reads the codes of the table", async () => {
    const client = new Client(new URL(service.url).host, credentials.createInsecure());
    const codes: number[] = [];
    for (const [, path, message, authorization] of table) {
      const metadata = new Metadata();
      if (authorization !== "") metadata.set("authorization", authorization);
      codes.push(
        await new Promise<number>((resolve) => {
          const bytes = (value: Buffer) => value;
          client.makeUnaryRequest(path, bytes, bytes, Buffer.from(message), metadata, (error) =>
            resolve(error?.code ?? 0),
          );
        }),
      );
    }
    client.close();
    expect(named(codes)).toEqual(expected);
  });
});

const python = `
import base64, grpc, json, sys
target, calls = sys.argv[1], json.loads(sys.argv[2])
codes = []
with grpc.insecure_channel(target) as channel:
    for path, message, authorization in calls:
        metadata = [("authorization", authorization)] if authorization else []
        try:
            channel.unary_unary(path)(base64.b64decode(message), metadata=metadata, timeout=20)
            codes.append(0)
        except grpc.RpcError as error:
            codes.append(error.code().value[0])
print(json.dumps(codes))
`;

describe("grpcio", () => {
  const bin = pythonPackage("grpcio", "1.85.1");
  const it = bin === undefined && !process.env["CI"] ? test.skip : test;
  if (bin === undefined) process.stderr.write("\n*** grpcio is not to be had from PyPI ***\n\n");
  it(
    "reads the codes of the table",
    async () => {
      if (bin === undefined) throw new Error("needs grpcio from PyPI, and python3");
      const calls = table.map(([, path, message, authorization]) => [
        path,
        Buffer.from(message).toString("base64"),
        authorization,
      ]);
      const args = ["-c", python, new URL(service.url).host, JSON.stringify(calls)];
      const codes = JSON.parse(await run(`${bin}/python`, args)) as number[];
      expect(named(codes)).toEqual(expected);
    },
    setupTimeoutMs,
  );
});
