/** Reads the credentials of a request. Depends on auth, the server's types and a neighbour. */
import {
  parseAuthorization,
  parsePasswordCredentials,
  type Authorization,
} from "../auth/credentials.js";
import { parseJsonIgnoringCase } from "../auth/json.js";
import { requestBytesMax } from "../auth/limits.js";
import { decompress } from "../server/compressed-body.js";
import type { RouteRequest } from "../server/route.js";
import type { PathName } from "./questions.js";

/** The credentials in the request; undefined if it has none, or malformed ones. */
export async function credentialsOf(
  path: PathName,
  { method, headers, body }: RouteRequest,
): Promise<Authorization | undefined> {
  if (method !== "POST") return undefined;
  try {
    if (path === "token") return parseAuthorization(headers.authorization);
    const plain = await decompress(headers["content-encoding"], body, requestBytesMax);
    const members = parseJsonIgnoringCase(plain);
    const pair = parsePasswordCredentials(members.get("username"), members.get("password"));
    return { scheme: "basic", ...pair };
  } catch {
    return undefined;
  }
}

/** The `sub` of a token, which is not verified here. */
export function subjectOf(token: string): string | undefined {
  try {
    const claims = Buffer.from(token.split(".")[1] ?? "", "base64url").toString();
    const { sub } = JSON.parse(claims) as { sub?: unknown };
    return typeof sub === "string" ? sub : undefined;
  } catch {
    return undefined;
  }
}
