/** A route whose answer is sent at once: the REST paths and the published documents. */
import type { IncomingHttpHeaders } from "node:http";
import type { AuthError } from "../auth/errors.js";
import type { Answer, NodeRequest } from "./exchange.js";
import type { Caller } from "./caller.js";

export interface RouteRequest {
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array;
  readonly caller: Caller;
  /** The original request, for a route that forwards it; undefined without one. */
  readonly req?: NodeRequest;
}

/** Refusals of the HTTP layer, which each route puts into its own shape. */
export type HttpRefusal = ListenerRefusal | 405 | 415;
/** Refusals of the listener, before a route sees the request. */
export type ListenerRefusal = 400 | 408 | 413 | 417 | 429 | 431 | 501;

export interface Route {
  readonly path: string;
  readonly methods: readonly string[];
  /** Whether pages of every origin may read the answer. */
  readonly isPublic?: true;
  /** @throws AuthError and other errors of a use case */
  handle(request: RouteRequest): Answer | Promise<Answer>;
  /** The answer to an error of `handle`. */
  fail(error: AuthError): Answer;
  /** The answer to a request that is not handled. The handler adds `allow` to a 405. */
  refuse(status: HttpRefusal): Answer;
}
