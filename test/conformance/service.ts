/** The conformance suite's service: each request says how it wants to be answered. */
import { setTimeout as sleep } from "node:timers/promises";
import type { DescService, Message } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import {
  ConnectError,
  type ConnectRouter,
  type HandlerContext,
  type ServiceImpl,
} from "@connectrpc/connect";
import { createAsyncIterable } from "@connectrpc/connect/protocol";
import type {
  ConformanceRequest,
  Header,
  Protocol,
  StreamDefinition,
  UnaryDefinition,
} from "./protocol.js";

type Unary = ConformanceRequest<UnaryDefinition>;
type Stream = ConformanceRequest<StreamDefinition>;

export function conformanceRoutes(protocol: Protocol): (router: ConnectRouter) => void {
  function requestInfo(requests: readonly Message[], context: HandlerContext) {
    const query = [...new URL(context.url).searchParams];
    const timeoutMs = context.timeoutMs();
    return {
      requestHeaders: toHeaderList([...context.requestHeader]),
      requests: requests.map((request) => anyPack(protocol.message(request.$typeName), request)),
      ...(timeoutMs !== undefined && { timeoutMs: BigInt(Math.round(timeoutMs)) }),
      ...(query.length > 0 && { connectGetInfo: { queryParams: toHeaderList(query) } }),
    };
  }

  function toError(
    { code, message = "", details }: NonNullable<StreamDefinition["error"]>,
    info: ReturnType<typeof requestInfo> | undefined,
  ): ConnectError {
    const error = new ConnectError(message, code);
    error.details = [
      ...details.map(({ typeUrl, value }) => ({ type: typeUrl.replace(/.*\//, ""), value })),
      ...(info === undefined ? [] : [{ desc: protocol.requestInfo, value: info }]),
    ];
    return error;
  }

  async function answerUnary(requests: readonly Unary[], context: HandlerContext) {
    const definition = requests[0]?.responseDefinition;
    const info = requestInfo(requests, context);
    sendMetadata(definition, context);
    await pause(definition, context);
    const { response } = definition ?? {};
    if (response?.case === "error") throw toError(response.value, info);
    return {
      payload: { requestInfo: info, ...(response?.case && { data: response.value }) },
    };
  }

  /** One answer after another; with `full duplex` as the requests come, else once all have come. */
  async function* answerStream(requests: AsyncIterable<Stream>, context: HandlerContext) {
    const unanswered: Stream[] = [];
    let definition: StreamDefinition | undefined;
    let sent = 0;
    const next = async () => {
      const data = definition?.responseData[sent];
      const info = requestInfo(unanswered.splice(0), context);
      await pause(definition, context);
      const { requests } = info;
      return { payload: { data, requestInfo: sent++ === 0 ? info : { requests } } };
    };
    let first = true;
    let fullDuplex = false;
    for await (const request of requests) {
      if (first) {
        definition = request.responseDefinition;
        fullDuplex = request.fullDuplex ?? false;
        sendMetadata(definition, context);
        first = false;
      }
      unanswered.push(request);
      if (!fullDuplex) continue;
      if (sent >= (definition?.responseData.length ?? 0)) break;
      yield await next();
    }
    while (sent < (definition?.responseData.length ?? 0)) yield await next();
    if (definition?.error) {
      throw toError(definition.error, sent === 0 ? requestInfo(unanswered, context) : undefined);
    }
  }

  const implementation = {
    unary: (request: Unary, context: HandlerContext) => answerUnary([request], context),
    idempotentUnary: (request: Unary, context: HandlerContext) => answerUnary([request], context),
    async clientStream(requests: AsyncIterable<Unary>, context: HandlerContext) {
      const all: Unary[] = [];
      for await (const request of requests) all.push(request);
      return answerUnary(all, context);
    },
    serverStream: (request: Stream, context: HandlerContext) =>
      answerStream(createAsyncIterable([request]), context),
    bidiStream: answerStream,
  };
  return (router) =>
    router.service(protocol.service, implementation as unknown as ServiceImpl<DescService>, {
      jsonOptions: { registry: protocol.registry },
    });
}

/** Until the answer is due, or the deadline that came with the request has passed. */
async function pause(
  definition: UnaryDefinition | StreamDefinition | undefined,
  { signal }: HandlerContext,
): Promise<void> {
  await sleep(definition?.responseDelayMs, undefined, { signal }).catch(() => {
    throw ConnectError.from(signal.reason);
  });
}

function sendMetadata(
  definition: UnaryDefinition | StreamDefinition | undefined,
  { responseHeader, responseTrailer }: HandlerContext,
): void {
  for (const [headers, target] of [
    [definition?.responseHeaders, responseHeader],
    [definition?.responseTrailers, responseTrailer],
  ] as const) {
    for (const { name, value } of headers ?? []) {
      for (const one of value) target.append(name, one);
    }
  }
}

function toHeaderList(pairs: readonly (readonly [string, string])[]): Header[] {
  return pairs.map(([name, value]) => ({ name, value: value.split(", ") }));
}
