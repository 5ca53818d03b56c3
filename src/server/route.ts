/** A path that is answered whole: the REST paths and the published documents. */
import type { IncomingHttpHeaders } from "node:http";
import type { AuthError } from "../auth/errors.js";
import type { Answer, NodeRequest } from "./exchange.js";
import type { Caller } from "./caller.js";

export interface RouteRequest {
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array;
  readonly caller: Caller;
  /** As it came, for who sends it on; undefined where nobody has sent it. */
  readonly req?: NodeRequest;
}

/** Refusals of the HTTP layer, which every path words in its own way. */
export type HttpRefusal = 405 | 408 | 413 | 415 | 429 | 431;

export interface Route {
  readonly path: string;
  readonly methods: readonly string[];
  /** Whether the pages of every origin may read it. */
  readonly isPublic?: true;
  /** @throws AuthError and whatever else a use case throws. */
  handle(request: RouteRequest): Answer | Promise<Answer>;
  /** The answer to an error of `handle`. */
  fail(error: AuthError): Answer;
  /** The answer to a request that is not handled at all; `allow` is added to a 405. */
  refuse(status: HttpRefusal): Answer;
}
