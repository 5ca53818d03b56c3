/** The JSON schemas of the OpenAPI document. Depends on auth. */
import { errorAnswers } from "../../auth/errors.js";
import { passwordBytesMax, usernameCodePointsMax } from "../../auth/limits.js";

export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [name: string]: Json | undefined };
export type JsonObject = Readonly<Record<string, Json | undefined>>;

export const ref = (kind: string, name: string) => ({ $ref: `#/components/${kind}/${name}` });

/** An object with exactly these members. */
function exactly(properties: Readonly<Record<string, JsonObject>>, more: JsonObject = {}) {
  const required = Object.keys(properties);
  return { type: "object", properties, required, additionalProperties: false, ...more };
}

const jwt = ref("schemas", "AccessToken");
const text = { type: "string" };

const username = {
  type: "string",
  minLength: 1,
  maxLength: usernameCodePointsMax,
  description: `The name of the user: 1 to ${usernameCodePointsMax} Unicode code points.`,
};
const password = {
  type: "string",
  format: "password",
  minLength: 1,
  // A limit in bytes is also one in characters.
  maxLength: passwordBytesMax,
  description: `The password: 1 to ${passwordBytesMax} bytes of UTF-8.`,
};
const pair = {
  type: "object",
  properties: { username, password },
  required: ["username", "password"],
};

const connectCodes = [
  ...new Set([
    ...Object.values(errorAnswers).map(({ rpc }) => rpc),
    ...["deadline_exceeded", "not_found", "unimplemented"],
  ]),
];

const issuedByRpc = exactly({
  accessToken: jwt,
  expireTime: { type: "string", format: "date-time", description: "The token's `exp`." },
});

export const schemas = {
  AccessToken: {
    type: "string",
    pattern: "^[\\w-]+\\.[\\w-]+\\.[\\w-]+$",
    description:
      "A JSON Web Token in compact serialization, signed with RS256 by a key of the key set. Its claims are `sub`, `iss`, `exp`, `iat`, `jti`, `auth_time` and, where configured, `aud` and `roles`.",
  },
  Token: exactly({ isSuccess: { const: true }, token: jwt }),
  TokenError: exactly({
    timestamp: {
      type: "string",
      pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}\\+00:00$",
    },
    status: { type: "integer" },
    error: { ...text, description: "The reason phrase of the status." },
    path: { const: "/api/auth/token" },
  }),
  LoginRequest: {
    ...pair,
    description: "Member names are not case-sensitive; other members are ignored.",
  },
  Login: exactly({
    message: { type: "string", pattern: "^Bearer token created and it expires in \\d+ minutes$" },
    data: jwt,
    error: { const: false },
    token_exp: {
      type: "string",
      pattern: "^[A-Z][a-z]+, \\d\\d \\d{4} \\d\\d:\\d\\d:\\d\\d$",
      description: "The token's `exp` in the server's `LEGACY_TIME_ZONE`.",
    },
  }),
  LoginError: exactly({
    data: { const: "" },
    error: { const: true },
    pagination: exactly(
      Object.fromEntries(
        Object.entries({ totalPages: 1, maxRows: 0, offset: 0, page: 1, totalRecords: 0 }).map(
          ([name, value]) => [name, { const: value }],
        ),
      ),
    ),
    messages: { type: "array", items: text, minItems: 1, maxItems: 1 },
  }),
  RpcLoginRequest: { ...pair, description: "`auth.v1.LoginRequest` in protobuf's JSON." },
  RpcLoginResponse: { ...issuedByRpc, description: "`auth.v1.LoginResponse` in protobuf's JSON." },
  RpcIssueTokenRequest: {
    type: "object",
    description: "`auth.v1.IssueTokenRequest`: empty, the credentials are in `Authorization`.",
  },
  RpcIssueTokenResponse: {
    ...issuedByRpc,
    description: "`auth.v1.IssueTokenResponse` in protobuf's JSON.",
  },
  ConnectError: {
    type: "object",
    description: "An error of the Connect protocol.",
    properties: {
      code: { enum: connectCodes },
      message: text,
      details: {
        type: "array",
        items: { type: "object" },
        description: "`google.rpc.RetryInfo`, if there is a `Retry-After`.",
      },
    },
    required: ["code", "message"],
    additionalProperties: false,
  },
  HealthRequest: {
    type: "object",
    // In protobuf's JSON null is the default.
    properties: { service: { enum: ["", "auth.v1.AuthService", null] } },
  },
  HealthResponse: exactly({ status: { enum: ["SERVING", "NOT_SERVING"] } }),
  KeySet: exactly(
    {
      keys: {
        type: "array",
        items: exactly({
          kty: { const: "RSA" },
          use: { const: "sig" },
          alg: { const: "RS256" },
          kid: {
            ...text,
            description: "The `kid` in the header of tokens that the key has signed.",
          },
          n: { ...text, description: "The modulus, in base64url." },
          e: { ...text, description: "The exponent, in base64url." },
        }),
      },
    },
    { description: "A JSON Web Key Set (RFC 7517), public parts only." },
  ),
  Metadata: exactly(
    {
      issuer: { type: "string", format: "uri" },
      jwks_uri: { type: "string", format: "uri" },
      response_types_supported: { type: "array", items: text },
      subject_types_supported: { type: "array", items: text },
      id_token_signing_alg_values_supported: { type: "array", items: { const: "RS256" } },
    },
    { description: "The address of the key set, by OpenID Connect Discovery and RFC 8414." },
  ),
  DocumentError: exactly({ error: { ...text, description: "The reason phrase of the status." } }),
} as const satisfies Readonly<Record<string, JsonObject>>;

export type SchemaName = keyof typeof schemas;
