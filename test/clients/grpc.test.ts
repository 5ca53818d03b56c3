/** gRPC clients of other makes through one table: grpc-js, grpcio from PyPI, and grpc-go. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, test } from "@jest/globals";
import { pythonPackage } from "../support/python.js";
import { startService, type RunningService } from "../support/service.js";
import {
  cacheDir,
  describeWith,
  npmTool,
  rootDir,
  run,
  setupTimeoutMs,
} from "../support/toolchain.js";
import { pipe } from "./programs.js";
import { codesOfGrpcJs, expectCodes, rpcCalls } from "./rpc-calls.js";

let service: RunningService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.close());

test("grpc-js reads the codes of the table", async () => {
  expectCodes(await codesOfGrpcJs(service.url));
});

const python = `
import base64, grpc, json, sys
target, calls = sys.argv[1], json.load(sys.stdin)
codes = []
with grpc.insecure_channel(target) as channel:
    for call in calls:
        path, message, authorization = call["path"], call["message"], call["authorization"]
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
      const args = ["-c", python, new URL(service.url).host];
      const codes = JSON.parse(
        await pipe(`${bin}/python`, args, JSON.stringify(rpcCalls)),
      ) as number[];
      expectCodes(codes);
    },
    setupTimeoutMs,
  );
});

await describeWith({ go: ["version"] }, "grpc-go", () => {
  test(
    "reads the codes of the table",
    async () => {
      const cwd = join(rootDir, "test/clients/go");
      await run(npmTool("buf"), ["generate", rootDir, "--path", join(rootDir, "proto/auth")], {
        cwd,
      });
      const program = join(cacheDir, "bin/grpc-go");
      await run("go", ["build", "-o", program, "."], { cwd });
      const output = await pipe(program, [new URL(service.url).host], JSON.stringify(rpcCalls));
      expectCodes(JSON.parse(output) as number[]);
    },
    setupTimeoutMs,
  );
});
