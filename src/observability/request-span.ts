/**
 * The attributes of a request's span, by OpenTelemetry's semantic conventions for HTTP and RPC
 * servers. No value can be chosen by a client. Depends on auth and the server's types.
 */
import { errorAnswers } from "../auth/errors.js";
import type { AccessEntry } from "../server/handler.js";
import { outcomeOf } from "./outcome.js";

export interface RequestSpan {
  readonly name: string;
  /** Includes `error.type` for an error. */
  readonly attributes: Readonly<Record<string, string | number>>;
}

const commonOf = (entry: AccessEntry) => ({
  "network.protocol.version": entry.httpVersion.replace(".0", ""),
  "latchkey.outcome": outcomeOf(entry),
});

/** @param scheme the URL's scheme, which the listener knows */
export function describeHttp(entry: AccessEntry, scheme: string): RequestSpan {
  const { status, route } = entry;
  const method = entry.method === "other" ? "_OTHER" : entry.method;
  const verb = entry.method === "other" ? "HTTP" : method;
  const isServed = route !== "unknown";
  return {
    name: isServed ? `${verb} ${route}` : verb,
    attributes: {
      "http.request.method": method,
      "http.response.status_code": status,
      "url.scheme": scheme,
      ...commonOf(entry),
      ...(isServed && { "http.route": route, "url.path": route }),
      ...(status >= 500 && { "error.type": outcomeOf(entry) }),
    },
  };
}

/** Codes that are the server's fault: Connect answers them with a status of 5xx. */
const rpcFaults = new Set([
  ...["unknown", "deadline_exceeded", "unimplemented", "internal", "unavailable", "data_loss"],
]);

/** @param system gRPC-Web counts as gRPC. */
export function describeRpc(entry: AccessEntry, system: "grpc" | "connectrpc"): RequestSpan {
  const method = entry.route.slice(1);
  const code = rpcCodeOf(entry.outcome);
  const status = system === "grpc" ? code?.toUpperCase() : code;
  const isFault = code === undefined ? entry.status >= 500 : rpcFaults.has(code);
  return {
    name: method,
    attributes: {
      "rpc.system.name": system,
      "rpc.method": method,
      ...commonOf(entry),
      ...(status !== undefined && { "rpc.status_code": status }),
      ...(isFault && { "error.type": status ?? outcomeOf(entry) }),
    },
  };
}

/** The code that the caller got, if known. */
function rpcCodeOf(outcome: string | undefined): string | undefined {
  if (outcome === "aborted") return "cancelled";
  const answers: Readonly<Record<string, { readonly rpc: string }>> = errorAnswers;
  return answers[outcome ?? ""]?.rpc ?? outcome;
}
