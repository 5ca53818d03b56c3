/**
 * The RPC side of the error table. Only this file makes errors for the wire. Depends on auth, gen
 * and Connect.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import {
  argumentFaultMessages,
  errorAnswers,
  type AuthError,
  type RpcCode,
} from "../auth/errors.js";
import { RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.js";

const codes = {
  invalid_argument: Code.InvalidArgument,
  unauthenticated: Code.Unauthenticated,
  resource_exhausted: Code.ResourceExhausted,
  unavailable: Code.Unavailable,
  internal: Code.Internal,
} as const satisfies Record<RpcCode, Code>;

/** Converts an error to what the caller may see: code, fixed text, and the time to wait. */
export function toConnectError(error: AuthError, requestId: string): ConnectError {
  const { rpc, message } = errorAnswers[error.code];
  const text =
    error.code === "internal"
      ? `${message}; request id ${requestId}`
      : error.fault === undefined
        ? message
        : argumentFaultMessages[error.fault];
  const seconds = error.retryAfterSeconds;
  if (seconds === undefined) return new ConnectError(text, codes[rpc]);
  const retryDelay = { seconds: BigInt(seconds) };
  return new ConnectError(text, codes[rpc], { "retry-after": String(seconds) }, [
    { desc: RetryInfoSchema, value: { retryDelay } },
  ]);
}
