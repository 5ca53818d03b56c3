/**
 * Server reflection, v1 and v1alpha, from the generated descriptors: buf, grpcurl and Postman need
 * no schema file. The two versions differ in the package name alone. The answers of a stream are
 * bounded. Depends on gen, the HTTP exchange and Connect.
 */
import {
  createRegistry,
  toBinary,
  type DescExtension,
  type DescFile,
  type DescService,
} from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import {
  ServerReflection,
  type ServerReflectionRequest,
} from "../../gen/grpc/reflection/v1/reflection_pb.js";
import {
  ServerReflection as ServerReflectionV1alpha,
  type ServerReflectionRequest as ServerReflectionRequestV1alpha,
} from "../../gen/grpc/reflection/v1alpha/reflection_pb.js";
import { exchangeOf } from "./context.js";

type Request = Pick<ServerReflectionRequest | ServerReflectionRequestV1alpha, "messageRequest">;
type Answer =
  | { case: "fileDescriptorResponse"; value: { fileDescriptorProto: Uint8Array[] } }
  | {
      case: "allExtensionNumbersResponse";
      value: { baseTypeName: string; extensionNumber: number[] };
    }
  | { case: "listServicesResponse"; value: { service: { name: string }[] } }
  | { case: "errorResponse"; value: { errorCode: number; errorMessage: string } };

/** Serves the descriptors of `services`, of reflection, and of all their imports. */
export function reflectionRoutes(router: ConnectRouter, services: readonly DescService[]): void {
  const served = [...services, ServerReflection, ServerReflectionV1alpha];
  const files = withImports(served.map((service) => service.file));
  const registry = createRegistry(...files.values());
  const encoded = new Map<DescFile, Uint8Array>();

  /** @param sent the files already sent on this stream */
  function answer({ messageRequest }: Request, sent: Set<DescFile>): Answer {
    switch (messageRequest.case) {
      case "listServices":
        return {
          case: "listServicesResponse",
          value: { service: served.map(({ typeName: name }) => ({ name })) },
        };
      case "fileByFilename":
        return fileAnswer(files.get(messageRequest.value), sent);
      case "fileContainingSymbol":
        return fileAnswer(fileOfSymbol(messageRequest.value), sent);
      case "fileContainingExtension": {
        const { containingType, extensionNumber } = messageRequest.value;
        return fileAnswer(
          extensionsOf(containingType).find(({ number }) => number === extensionNumber)?.file,
          sent,
        );
      }
      case "allExtensionNumbersOfType": {
        const extensionNumber = extensionsOf(messageRequest.value).map(({ number }) => number);
        if (extensionNumber.length === 0 && !registry.getMessage(messageRequest.value)) {
          return notFound;
        }
        const baseTypeName = messageRequest.value;
        return { case: "allExtensionNumbersResponse", value: { baseTypeName, extensionNumber } };
      }
      default:
        return notFound;
    }
  }

  function extensionsOf(typeName: string): DescExtension[] {
    return [...registry].filter(
      (type) => type.kind === "extension" && type.extendee.typeName === typeName,
    ) as DescExtension[];
  }

  /** Finds the file of a type, or of a member of one: method, field, enum value. */
  function fileOfSymbol(symbol: string): DescFile | undefined {
    const parent = symbol.slice(0, Math.max(0, symbol.lastIndexOf(".")));
    return (registry.get(symbol) ?? registry.get(parent))?.file;
  }

  /** Answers with the file and its imports, without those that the stream already has. */
  function fileAnswer(file: DescFile | undefined, sent: Set<DescFile>): Answer {
    if (file === undefined) return notFound;
    const imported = [...withImports([file]).values()].filter((one) => !sent.has(one));
    const fileDescriptorProto = [...new Set([file, ...imported])].map((one) => {
      sent.add(one);
      return encode(one);
    });
    return { case: "fileDescriptorResponse", value: { fileDescriptorProto } };
  }

  function encode(file: DescFile): Uint8Array {
    const bytes = encoded.get(file) ?? toBinary(FileDescriptorProtoSchema, file.proto);
    encoded.set(file, bytes);
    return bytes;
  }

  const implementation = {
    async *serverReflectionInfo(requests: AsyncIterable<Request>, { values }: HandlerContext) {
      const { share } = exchangeOf(values);
      const sent = new Set<DescFile>();
      let bytesLeft = answerBytesFree;
      for await (const request of requests) {
        const messageResponse = answer(request, sent);
        const bytes = bytesOf(messageResponse);
        bytesLeft += answerBytesPerByte * askedBytes(request) - Math.max(bytes, answerBytesMin);
        if (bytesLeft < 0) throw new ConnectError("too much for a stream", Code.ResourceExhausted);
        share.take(bytes);
        // `original_request` stays empty: no answer quotes the request.
        yield { validHost: "", messageResponse };
        share.give(bytes);
      }
    },
  };
  router.service(ServerReflection, implementation);
  router.service(ServerReflectionV1alpha, implementation);
}

/**
 * Bytes that a stream may send: a fixed amount, enough for all files several times, and more for
 * each byte of its requests.
 */
const answerBytesFree = 262_144;
const answerBytesPerByte = 16;
/** The least that an answer counts for, because of the work beside its bytes. */
const answerBytesMin = 1024;

function bytesOf({ case: kind, value }: Answer): number {
  if (kind !== "fileDescriptorResponse") return 0;
  return value.fileDescriptorProto.reduce((sum, bytes) => sum + bytes.length, 0);
}

function askedBytes({ messageRequest: { value } }: Request): number {
  return (typeof value === "string" ? value : (value?.containingType ?? "")).length;
}

const notFound: Answer = {
  case: "errorResponse",
  value: { errorCode: Code.NotFound, errorMessage: "not found" },
};

function withImports(files: readonly DescFile[]): Map<string, DescFile> {
  const found = new Map<string, DescFile>();
  const add = (file: DescFile) => {
    if (found.has(file.proto.name)) return;
    found.set(file.proto.name, file);
    file.dependencies.forEach(add);
  };
  files.forEach(add);
  return found;
}
