/**
 * `auth.v1.AuthService`: translates its rpcs to the domain's use cases. Depends on auth, gen and
 * Connect.
 */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService as Service } from "../auth/service.js";
import type { IssuedToken } from "../auth/tokens.js";
import { toAttempt } from "../server/caller.js";
import type { AuthService } from "../../gen/auth/v1/auth_pb.js";
import { exchangeOf } from "./context.js";

export function createAuthServiceImpl(service: Service): ServiceImpl<typeof AuthService> {
  return {
    async login({ username, password }, context) {
      const attempt = toAttempt("rpc_login", exchangeOf(context.values), context);
      return toMessage(await service.login(username, password, attempt));
    },
    async issueToken(_request, context) {
      // Reads the one header from the HTTP request: the context would convert all of them.
      const exchange = exchangeOf(context.values);
      const attempt = toAttempt("rpc_issue_token", exchange, context);
      const { authorization } = exchange.req.headers;
      return toMessage(await service.issueToken(authorization, attempt));
    },
  };
}

function toMessage({ accessToken, expiresAtSeconds }: IssuedToken) {
  return { accessToken, expireTime: timestampFromMs(expiresAtSeconds * 1000) };
}
