/**
 * The messages of the conformance suite, as far as a server needs them. Their descriptors come from
 * the suite's own Go module: nothing is generated or kept here.
 */
import { join } from "node:path";
import { readFile } from "node:fs/promises";
import {
  createFileRegistry,
  fromBinary,
  type DescMessage,
  type DescService,
  type FileRegistry,
  type Message,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema, type Any } from "@bufbuild/protobuf/wkt";
import type { Code } from "@connectrpc/connect";
import { cacheDir, npmTool, rootDir, run } from "../support/toolchain.js";

export interface Header {
  readonly name: string;
  readonly value: readonly string[];
}

interface ErrorDefinition {
  readonly code: Code;
  readonly message?: string;
  readonly details: readonly Any[];
}

interface Definition {
  readonly responseHeaders: readonly Header[];
  readonly responseTrailers: readonly Header[];
  readonly responseDelayMs: number;
}

/** What a unary request wants to be answered. */
export interface UnaryDefinition extends Definition {
  readonly response:
    | { readonly case: "responseData"; readonly value: Uint8Array }
    | { readonly case: "error"; readonly value: ErrorDefinition }
    | { readonly case: undefined };
}

/** What a stream wants to be answered. */
export interface StreamDefinition extends Definition {
  readonly responseData: readonly Uint8Array[];
  readonly error?: ErrorDefinition;
}

export interface ConformanceRequest<Response> extends Message {
  readonly responseDefinition?: Response;
  readonly fullDuplex?: boolean;
}

/** How the suite wants a server started. */
export interface ServerRequest extends Message {
  readonly useTls: boolean;
  readonly serverCreds?: { readonly cert: Uint8Array; readonly key: Uint8Array };
  readonly clientTlsCert: Uint8Array;
}

export interface Protocol {
  readonly service: DescService;
  readonly requestInfo: DescMessage;
  readonly serverRequest: DescMessage;
  readonly serverResponse: DescMessage;
  /** All of them, for JSON. */
  readonly registry: FileRegistry;
  message(typeName: string): DescMessage;
}

export async function loadProtocol(): Promise<Protocol> {
  const module = await run("go", ["list", "-m", "-f", "{{.Dir}}", "connectrpc.com/conformance"], {
    cwd: join(rootDir, "test/tools"),
  });
  const file = join(cacheDir, "conformance.binpb");
  const args = ["build", join(module.trim(), "proto"), "--as-file-descriptor-set", "-o", file];
  await run(npmTool("buf"), args);
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, await readFile(file)));
  const prefix = "connectrpc.conformance.v1";
  const message = (typeName: string) => found(registry.getMessage(typeName));
  return {
    service: found(registry.getService(`${prefix}.ConformanceService`)),
    requestInfo: message(`${prefix}.ConformancePayload.RequestInfo`),
    serverRequest: message(`${prefix}.ServerCompatRequest`),
    serverResponse: message(`${prefix}.ServerCompatResponse`),
    registry,
    message,
  };
}

function found<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new Error("the suite's protocol is not what it was");
  return value;
}
