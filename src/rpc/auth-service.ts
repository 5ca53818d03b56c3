/**
 * `auth.v1.AuthService`, translated to the domain's use cases. Depends on auth, gen and Connect.
 */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService as Service } from "../auth/service.js";
import type { IssuedToken } from "../auth/tokens.js";
import type { AuthService } from "../../gen/auth/v1/auth_pb.js";

export function createAuthServiceImpl(service: Service): ServiceImpl<typeof AuthService> {
  return {
    async login({ username, password }) {
      return toMessage(await service.login(username, password));
    },
    async issueToken(_request, { requestHeader }) {
      return toMessage(await service.issueToken(requestHeader.get("authorization") ?? undefined));
    },
  };
}

function toMessage({ accessToken, expiresAtSeconds }: IssuedToken) {
  return { accessToken, expireTime: timestampFromMs(expiresAtSeconds * 1000) };
}
