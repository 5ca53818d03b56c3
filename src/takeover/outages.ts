/** Why the old server gives no usable answer, in words for operators. Depends on auth's errors. */
import { AuthError } from "../auth/errors.js";

/** The error if there is no usable answer; the message appears in the logs and in `takeover status` only. */
export const upstreamFault = (message: string, cause?: unknown) =>
  new AuthError("store_unavailable", `the old server ${message}`, { retryAfterSeconds: 1, cause });

const foreign = "has a certificate of an authority that is not trusted here: see UPSTREAM_CA_FILE";
const unresolved = "has a host name that cannot be resolved";
const cut = "cuts the connection";

/** By the code of Node.js, OpenSSL or undici. */
const texts: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "has a certificate that has expired",
  CERT_NOT_YET_VALID: "has a certificate that is not valid yet",
  ERR_TLS_CERT_ALTNAME_INVALID: "has a certificate for another host name",
  DEPTH_ZERO_SELF_SIGNED_CERT: foreign,
  SELF_SIGNED_CERT_IN_CHAIN: foreign,
  UNABLE_TO_GET_ISSUER_CERT: foreign,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: foreign,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: foreign,
  ERR_SSL_WRONG_VERSION_NUMBER: "does not speak TLS on that port",
  ECONNREFUSED: "refuses connections",
  ECONNRESET: cut,
  UND_ERR_SOCKET: cut,
  ENOTFOUND: unresolved,
  EAI_AGAIN: unresolved,
  EHOSTUNREACH: "cannot be reached",
  ENETUNREACH: "cannot be reached",
  ETIMEDOUT: "does not answer in time",
  UND_ERR_CONNECT_TIMEOUT: "does not answer in time",
};

/** The error for whatever has ended an exchange. */
export function outageOf(error: unknown): AuthError {
  if (error instanceof AuthError) return error;
  const { code } = error as NodeJS.ErrnoException;
  return upstreamFault(texts[code ?? ""] ?? `gives no answer${code ? ` (${code})` : ""}`, error);
}
