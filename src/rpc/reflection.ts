/**
 * Server reflection, v1 and v1alpha, from the generated descriptors: clients such as buf, grpcurl and
 * Postman call without a schema file. The two versions differ by package name alone. Depends on gen
 * and Connect.
 */
import {
  createRegistry,
  toBinary,
  type DescExtension,
  type DescFile,
  type DescService,
} from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectRouter } from "@connectrpc/connect";
import {
  ServerReflection,
  type ServerReflectionRequest,
} from "../../gen/grpc/reflection/v1/reflection_pb.js";
import {
  ServerReflection as ServerReflectionV1alpha,
  type ServerReflectionRequest as ServerReflectionRequestV1alpha,
} from "../../gen/grpc/reflection/v1alpha/reflection_pb.js";

type Request = Pick<ServerReflectionRequest | ServerReflectionRequestV1alpha, "messageRequest">;
type Answer =
  | { case: "fileDescriptorResponse"; value: { fileDescriptorProto: Uint8Array[] } }
  | {
      case: "allExtensionNumbersResponse";
      value: { baseTypeName: string; extensionNumber: number[] };
    }
  | { case: "listServicesResponse"; value: { service: { name: string }[] } }
  | { case: "errorResponse"; value: { errorCode: number; errorMessage: string } };

/** Serves the descriptors of `services`, of reflection itself, and of all that they import. */
export function reflectionRoutes(router: ConnectRouter, services: readonly DescService[]): void {
  const served = [...services, ServerReflection, ServerReflectionV1alpha];
  const files = withImports(served.map((service) => service.file));
  const registry = createRegistry(...files.values());

  function answer({ messageRequest }: Request): Answer {
    switch (messageRequest.case) {
      case "listServices":
        return {
          case: "listServicesResponse",
          value: { service: served.map(({ typeName: name }) => ({ name })) },
        };
      case "fileByFilename":
        return fileAnswer(files.get(messageRequest.value));
      case "fileContainingSymbol":
        return fileAnswer(fileOfSymbol(messageRequest.value));
      case "fileContainingExtension": {
        const { containingType, extensionNumber } = messageRequest.value;
        return fileAnswer(
          extensionsOf(containingType).find(({ number }) => number === extensionNumber)?.file,
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

  /** A symbol is a type, or a member of one: a method, a field, an enum value. */
  function fileOfSymbol(symbol: string): DescFile | undefined {
    const parent = symbol.slice(0, Math.max(0, symbol.lastIndexOf(".")));
    return (registry.get(symbol) ?? registry.get(parent))?.file;
  }

  function fileAnswer(file: DescFile | undefined): Answer {
    if (file === undefined) return notFound;
    const fileDescriptorProto = [...withImports([file]).values()].map(({ proto }) =>
      toBinary(FileDescriptorProtoSchema, proto),
    );
    return { case: "fileDescriptorResponse", value: { fileDescriptorProto } };
  }

  const implementation = {
    async *serverReflectionInfo(requests: AsyncIterable<Request>) {
      for await (const request of requests) {
        // The request is not sent back as `original_request`: no answer quotes what came.
        yield { validHost: "", messageResponse: answer(request) };
      }
    },
  };
  router.service(ServerReflection, implementation);
  router.service(ServerReflectionV1alpha, implementation);
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
