/**
 * The conformance suite of Connect against our listener and our RPC handler, with the suite's own
 * service mounted on them. `LONG=1` runs it without our own unary path, too. The suite starts one
 * server after another by a command; ours is a relay to this process, so that what is tested is the source.
 */
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { createRpcHandler, type RpcOptions } from "../../src/rpc/handler.js";
import { requestBytesMax } from "../../src/auth/limits.js";
import { createRequestHandler } from "../../src/server/handler.js";
import { createListener, type Listener } from "../../src/server/listener.js";
import { describeWith, goTool, run, setupTimeoutMs } from "../support/toolchain.js";
import { loadProtocol, type Protocol, type ServerRequest } from "./protocol.js";
import { conformanceRoutes } from "./service.js";

/** YAML's superset: what the suite may expect of us. */
const features = {
  supportsH2c: true,
  supportsTls: true,
  supportsTlsClientCerts: true,
  supportsConnectGet: true,
  compressions: ["COMPRESSION_IDENTITY", "COMPRESSION_GZIP", "COMPRESSION_BR"],
  // Ours is fixed, and not the one that the suite asks for: see the second test.
  supportsMessageReceiveLimit: false,
};

/** The suite's own cases for a limit, with its 200 KiB brought down to our 64. */
const limitSuite = {
  name: "Limit",
  mode: "TEST_MODE_SERVER",
  relevantCodecs: ["CODEC_PROTO"],
  testCases: [
    { testName: "at-limit", excess: 0 },
    {
      testName: "above-limit",
      excess: 1,
      expectedResponse: { error: { code: "CODE_RESOURCE_EXHAUSTED" } },
    },
  ].map(({ testName, excess, ...expected }) => ({
    request: {
      testName,
      streamType: "STREAM_TYPE_UNARY",
      requestMessages: [
        {
          "@type": "type.googleapis.com/connectrpc.conformance.v1.UnaryRequest",
          responseDefinition: { responseData: "dGVzdA==" },
        },
      ],
    },
    expandRequests: [{ sizeRelativeToLimit: requestBytesMax + excess - 200 * 1024 }],
    ...expected,
  })),
};

const suiteTimeoutMs = 240_000;
const relay =
  'const s=require("net").connect(process.argv[1]);process.stdin.pipe(s,{end:false});s.pipe(process.stdout)';

await describeWith({ go: ["version"] }, "the conformance suite of Connect", () => {
  let command: string;
  let folder: string;
  let starter: Server;
  const servers: Promise<void>[] = [];
  let fastUnary = true;
  const faults: unknown[] = [];

  beforeAll(async () => {
    command = await goTool("connectconformance");
    const protocol = await loadProtocol();
    folder = await mkdtemp(join(tmpdir(), "latchkey-conformance-"));
    starter = createServer((socket) => {
      servers.push(serve(protocol, socket, { fastUnary, onFault: (error) => faults.push(error) }));
    });
    starter.listen(join(folder, "socket"));
    await once(starter, "listening");
  }, setupTimeoutMs);
  afterAll(async () => {
    starter.close();
    await Promise.all(servers);
    await rm(folder, { recursive: true });
  });

  async function conform(...args: string[]): Promise<string> {
    const config = join(folder, "config.yaml");
    await writeFile(config, JSON.stringify({ features }));
    const server = [process.execPath, "-e", relay, join(folder, "socket")];
    const argv = ["--mode", "server", "--conf", config, ...args, "--", ...server];
    return run(command, argv, { timeoutMs: suiteTimeoutMs });
  }

  test.each(process.env["LONG"] ? [true, false] : [true])(
    "every case of every protocol, encoding and kind of stream, cleartext and TLS (fastUnary: %s)",
    async (fast) => {
      fastUnary = fast;
      expect(await conform()).toContain("4942 passed, 0 failed");
      expect(faults).toEqual([]);
    },
    suiteTimeoutMs,
  );

  test(
    "the limit on messages is 64 KiB",
    async () => {
      // Connect's own unary path answers a message that is too large once inflated with internal.
      fastUnary = true;
      const file = join(folder, "limit.yaml");
      await writeFile(file, JSON.stringify(limitSuite));
      expect(await conform("--test-file", file)).toContain("64 passed, 0 failed");
    },
    suiteTimeoutMs,
  );
});

type Handling = Pick<RpcOptions, "fastUnary" | "onFault">;

/** A server of ours for as long as the suite wants it. */
async function serve(protocol: Protocol, socket: Socket, handling: Handling): Promise<void> {
  const request = fromBinary(protocol.serverRequest, await readMessage(socket)) as ServerRequest;
  const { listener, cert } = createConformanceServer(protocol, request, handling);
  const { port } = await listener.listen();
  const response = create(protocol.serverResponse, { port, ...(cert && { pemCert: cert }) });
  const bytes = toBinary(protocol.serverResponse, response);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  socket.write(Buffer.concat([length, bytes]));
  socket.on("error", () => undefined);
  await once(socket, "close");
  await listener.drain(0);
}

function createConformanceServer(
  protocol: Protocol,
  { useTls, serverCreds, clientTlsCert }: ServerRequest,
  handling: Handling,
): { listener: Listener; cert: Uint8Array | undefined } {
  const text = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString();
  const rpc = createRpcHandler({ routes: conformanceRoutes(protocol), ...handling });
  const listener = createListener({
    host: "127.0.0.1",
    port: 0,
    handler: createRequestHandler({
      routes: [],
      rpc,
      clientAddressOf: () => "127.0.0.1",
      corsOrigins: [],
      cors: () => Promise.resolve(rpc.corsHeaders),
      onAccess: () => undefined,
      onFault: handling.onFault,
    }),
    ...(useTls && {
      tls: {
        cert: text(serverCreds?.cert),
        key: text(serverCreds?.key),
        ...(clientTlsCert.length > 0 && { ca: text(clientTlsCert) }),
      },
    }),
  });
  return { listener, cert: serverCreds?.cert };
}

/** A message after its length in four bytes. */
async function readMessage(socket: Socket): Promise<Uint8Array> {
  let bytes = Buffer.alloc(0);
  while (bytes.length < 4 || bytes.length < 4 + bytes.readUInt32BE()) {
    const [chunk] = (await once(socket, "data")) as [Buffer];
    bytes = Buffer.concat([bytes, chunk]);
  }
  return bytes.subarray(4);
}
