/** Clients without a schema: they list and call the service by reflection, in both its versions. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { startService, type RunningService } from "../support/service.js";
import { describeWith, goTool, npmTool, run, setupTimeoutMs } from "../support/toolchain.js";

const rpc = "auth.v1.AuthService/Login";
const services = [
  "auth.v1.AuthService",
  "grpc.health.v1.Health",
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection",
];
const login = JSON.stringify({ username: "TestUser", password: "password" });
const answer = { accessToken: expect.any(String), expireTime: expect.any(String) };
const lines = (output: string) => output.trim().split("\n");

let service: RunningService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.close());

describe.each(["grpc-v1", "grpc-v1alpha"])("buf curl, reflecting over %s", (version) => {
  const bufCurl = (path: string, ...args: string[]) =>
    run(npmTool("buf"), [
      ...["curl", "--http2-prior-knowledge", "--reflect-protocol", version],
      ...[...args, `${service.url}${path}`],
    ]);

  test("lists", async () => {
    expect(lines(await bufCurl("", "--list-services"))).toEqual(services);
  });

  test.each(["grpc", "grpcweb", "connect"])("calls over %s", async (protocol) => {
    const output = await bufCurl(`/${rpc}`, "--protocol", protocol, "--data", login);
    expect(JSON.parse(output)).toEqual(answer);
  });
});

await describeWith({ go: ["version"] }, "grpcurl", () => {
  let command: string;
  beforeAll(async () => {
    command = await goTool("grpcurl");
  }, setupTimeoutMs);
  const grpcurl = (data: string, ...verb: string[]) =>
    run(command, ["-plaintext", "-d", data, new URL(service.url).host, ...verb]);

  test("lists, describes and calls", async () => {
    expect(lines(await grpcurl("", "list"))).toEqual(services);
    expect(await grpcurl("", "describe", "auth.v1.LoginRequest")).toContain("string username = 1");
    expect(JSON.parse(await grpcurl(login, rpc))).toEqual(answer);
  });
});
