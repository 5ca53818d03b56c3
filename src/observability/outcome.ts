/** The outcome of a request, a word of a fixed list. Depends on the server's types. */
import type { AccessEntry } from "../server/handler.js";

/** `ok`, a domain code, an rpc's code, `aborted`, or `http_STATUS` if nothing else is known. */
export function outcomeOf({ outcome, status }: AccessEntry): string {
  return outcome ?? (status < 400 ? "ok" : `http_${status}`);
}
