/**
 * The OpenAPI 3.1 document of a server with this configuration, made from the answers of the code itself. Depends
 * on its neighbours and on gateway.
 */
import { reasonPhrases } from "../../gateway/answers.js";
import type { Answer } from "../../server/exchange.js";
import { answersOf, exampleToken, type AnswerPolicy, type Case } from "./answers.js";
import { ref, schemas, type Json, type JsonObject, type SchemaName } from "./schemas.js";

export interface OpenApiOptions extends AnswerPolicy {
  readonly version: string;
  readonly issuer: string;
  /** The paths under `/.well-known/` that are served. */
  readonly documents: readonly string[];
}

export interface OpenApiDocument extends JsonObject {
  readonly info: { readonly title: string; readonly version: string; readonly [key: string]: Json };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly [key: string]: JsonObject };
}

export interface Operation extends JsonObject {
  readonly operationId: string;
  readonly summary: string;
  readonly description: string;
  readonly tags: readonly [string];
  readonly responses: Readonly<Record<string, Response>>;
}

export interface Response extends JsonObject {
  readonly description: string;
}

const restTag = "REST";
const rpcTag = "RPC";
const documentTag = "Documents";

export async function createOpenApiDocument(options: OpenApiOptions): Promise<OpenApiDocument> {
  const answers = await answersOf(options.issuer, options);
  const example = exampleToken(options.issuer, options);
  return {
    openapi: "3.1.1",
    info: {
      title: "Latchkey",
      version: options.version,
      summary: "Passwords in, RS256 JSON Web Tokens out.",
      description:
        "Checks usernames and passwords and issues JSON Web Tokens, which any service can verify with the published key set. Every answer carries `X-Request-Id`. The rpcs are described in Connect's JSON form; gRPC and gRPC-Web serve the same ones.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/", description: "The server that serves this document." }],
    tags: [
      { name: restTag, description: "The paths of the two older servers, answered byte for byte." },
      { name: rpcTag, description: "The rpcs for internal services." },
      { name: documentTag, description: "Documents for services that verify tokens." },
    ],
    paths: {
      "/api/auth/token": {
        post: {
          operationId: "token",
          summary: "A password or a token in, a token out",
          description:
            "For clients of the first old server. The credentials are in `Authorization`: Basic for a username and password, Bearer to renew a token. A body is ignored.",
          tags: [restTag],
          security: [{ basic: [] }, { bearer: [] }],
          responses: responsesOf(answers.token, "Token", "TokenError"),
        },
      },
      "/api/v1/authentication/login": {
        post: {
          operationId: "login",
          summary: "A username and password in, a token out",
          description: "For clients of the second old server.",
          tags: [restTag],
          security: [],
          requestBody: jsonBody("LoginRequest", { username: "TestUser", password: "password" }),
          responses: responsesOf(answers.login, "Login", "LoginError"),
        },
      },
      "/auth.v1.AuthService/Login": {
        post: {
          operationId: "rpcLogin",
          summary: "Login: a username and password in, a token out",
          description: "The rpc `auth.v1.AuthService/Login` over Connect.",
          tags: [rpcTag],
          security: [],
          requestBody: jsonBody("RpcLoginRequest", { username: "TestUser", password: "password" }),
          responses: responsesOf(answers.rpcLogin, "RpcLoginResponse", "ConnectError"),
        },
      },
      "/auth.v1.AuthService/IssueToken": {
        post: {
          operationId: "rpcIssueToken",
          summary: "IssueToken: a password or a token in, a token out",
          description:
            "The rpc `auth.v1.AuthService/IssueToken` over Connect. The message is empty, the credentials are in `Authorization`: Basic, or Bearer to renew a token.",
          tags: [rpcTag],
          security: [{ basic: [] }, { bearer: [] }],
          requestBody: jsonBody("RpcIssueTokenRequest", {}),
          responses: responsesOf(answers.rpcIssueToken, "RpcIssueTokenResponse", "ConnectError"),
        },
      },
      "/grpc.health.v1.Health/Check": {
        post: {
          operationId: "healthCheck",
          summary: "Check: whether the server can do its work",
          description: "The rpc `grpc.health.v1.Health/Check` over Connect.",
          tags: [rpcTag],
          security: [],
          requestBody: jsonBody("HealthRequest", { service: "auth.v1.AuthService" }),
          responses: responsesOf(answers.healthCheck, "HealthResponse", "ConnectError"),
        },
      },
      ...Object.fromEntries(
        options.documents.map((path) => [path, { get: documentOperation(path, options) }]),
      ),
    },
    components: {
      securitySchemes: {
        basic: {
          type: "http",
          scheme: "basic",
          description: "A username and a password (RFC 7617), in UTF-8.",
        },
        bearer: {
          type: "http",
          scheme: "bearer",
          bearerFormat: "JWT",
          description: `A token that is still valid, to renew it, such as \`${example.accessToken.slice(0, 20)}…\`.`,
        },
      },
      headers,
      schemas,
    },
  };
}

const headers = {
  "X-Request-Id": {
    description: "The id of the request, as in the log: the caller's own, or a new one.",
    required: true,
    schema: { type: "string", pattern: "^[\\w.-]{1,128}$" },
  },
  "Retry-After": {
    description: "Seconds after which it makes sense to try again.",
    schema: { type: "integer", minimum: 0 },
  },
  "Cache-Control": {
    description: "Who may cache the answer, and for how long.",
    schema: { type: "string" },
  },
  Allow: { description: "The methods of the path.", schema: { type: "string" } },
  ETag: { description: "The version of the document.", schema: { type: "string" } },
  "Accept-Encoding": {
    description: "The encodings that a request body may have.",
    schema: { type: "string" },
  },
} as const satisfies Readonly<Record<string, JsonObject>>;

/** The answers of an operation, grouped by status. */
function responsesOf(cases: readonly Case[], accepted: SchemaName, failed: SchemaName) {
  const statuses = [...new Set(cases.map(({ answer }) => answer.status))].sort((a, b) => a - b);
  return Object.fromEntries(
    statuses.map((status): [string, Response] => {
      const same = cases.filter(({ answer }) => answer.status === status);
      const response: Response = {
        description: sentence(same.map(({ when }) => when)),
        headers: headersOf(same.map(({ answer }) => answer)),
        content: contentOf(same, status === 200 ? accepted : failed),
      };
      return [String(status), withoutAbsent(response)];
    }),
  );
}

const withoutAbsent = <T extends JsonObject>(object: T) =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T;

function sentence(parts: readonly string[]): string {
  const text = [...new Set(parts)].join("; or ");
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function headersOf(answers: readonly Answer[]): JsonObject {
  const sent = new Set(answers.flatMap(({ headers = {} }) => Object.keys(headers)));
  const names = Object.keys(headers).filter(
    (name) => name === "X-Request-Id" || sent.has(name.toLowerCase()),
  );
  return Object.fromEntries(names.map((name) => [name, ref("headers", name)]));
}

/** The bodies as examples, without repetitions. */
function contentOf(cases: readonly Case[], schema: SchemaName): JsonObject | undefined {
  const examples = new Map<string, [string, JsonObject]>();
  for (const { name, when, answer } of cases) {
    const body = Buffer.from(answer.body ?? "").toString();
    if (body === "" || examples.has(body)) continue;
    examples.set(body, [name, { summary: when, value: JSON.parse(body) as Json }]);
  }
  if (examples.size === 0) return undefined;
  const content = {
    schema: ref("schemas", schema),
    examples: Object.fromEntries(examples.values()),
  };
  return { "application/json": content };
}

function jsonBody(schema: SchemaName, example: Json) {
  const content = { schema: ref("schemas", schema), example };
  return { required: true, content: { "application/json": content } };
}

const documentSummaries: readonly [RegExp, string, string, SchemaName | undefined][] = [
  [/jwks\.json$/, "The keys that tokens are verified with", "application/jwk-set+json", "KeySet"],
  [
    /openid-configuration$/,
    "Where the keys are (OpenID Connect Discovery)",
    "application/json",
    "Metadata",
  ],
  [/oauth-authorization-server/, "Where the keys are (RFC 8414)", "application/json", "Metadata"],
  [/revocations$/, "The revoked users and keys, as a signed JWT", "application/jwt", undefined],
];

function documentOperation(path: string, { issuer }: OpenApiOptions): Operation {
  const [, summary = path, type = "application/json", schema] =
    documentSummaries.find(([form]) => form.test(path)) ?? [];
  const operationId = path.replaceAll(/[^a-z0-9]+/gi, "_").replace(/^_/, "");
  const common = ["X-Request-Id", "Cache-Control", "ETag"];
  const refs = (names: readonly string[]) =>
    Object.fromEntries(names.map((name) => [name, ref("headers", name)]));
  const error = { "application/json": { schema: ref("schemas", "DocumentError") } };
  return {
    operationId,
    summary,
    description: `Public. With the \`ETag\` in \`If-None-Match\`, an unchanged document is not sent again. The issuer is \`${issuer}\`.`,
    tags: [documentTag],
    security: [],
    parameters: [
      { name: "If-None-Match", in: "header", required: false, schema: { type: "string" } },
    ],
    responses: {
      200: {
        description: "The document.",
        headers: refs(common),
        content: { [type]: { schema: schema ? ref("schemas", schema) : { type: "string" } } },
      },
      304: { description: "The document has not changed.", headers: refs(common) },
      405: {
        description: `${reasonPhrases[405] ?? ""}: only GET and HEAD are allowed.`,
        headers: refs(["X-Request-Id", "Allow", "Cache-Control"]),
        content: error,
      },
      503: {
        description: "The store has not answered since the start.",
        headers: refs(["X-Request-Id", "Retry-After", "Cache-Control"]),
        content: error,
      },
    },
  };
}
