/**
 * A REST path during a take-over: answers, or forwards the request, by which server leads. Depends on the
 * server's types and its neighbours.
 */
import { METHODS } from "node:http";
import type { AuthError } from "../auth/errors.js";
import type { Answer } from "../server/exchange.js";
import type { HttpRefusal, Route, RouteRequest } from "../server/route.js";
import { credentialsOf, subjectOf } from "./credentials.js";
import { answerHeaders, requestHeaders } from "./headers.js";
import type { KnownUsers } from "./known-users.js";
import type { Lead, Leader } from "./lead.js";
import { upstreamFault } from "./outages.js";
import type { PathName } from "./questions.js";
import type { Review } from "./review.js";
import type { Upstream, UpstreamAnswer } from "./upstream.js";

export interface TakeoverRouteOptions {
  /** The path as Latchkey alone serves it. */
  readonly own: Route;
  readonly name: PathName;
  readonly lead: Lead;
  readonly upstream: Upstream;
  readonly users: KnownUsers;
  readonly review: Review;
  readonly now: () => number;
}

const isBearer = ({ headers }: RouteRequest) => /^bearer /i.test(headers.authorization ?? "");

export class TakeoverRoute implements Route {
  readonly path: string;
  /** All methods: the leading server decides which ones are allowed. */
  readonly methods = METHODS;
  readonly #options: TakeoverRouteOptions;

  constructor(options: TakeoverRouteOptions) {
    this.path = options.own.path;
    this.#options = options;
  }

  async handle(request: RouteRequest): Promise<Answer> {
    const leader = await this.#leaderOf(request);
    if (leader === "ours") return this.#answer(request);
    const answer = await this.#forward(request);
    // It may be Latchkey's own token, which the old server may not accept.
    const isRefused = answer.status === 401 || answer.status === 403;
    if (leader === undefined && isRefused && isBearer(request)) {
      throw upstreamFault("refuses a token while it is not known who leads");
    }
    const { status, reason, headers, body } = answer;
    return { status, reason, headers: answerHeaders(headers, request.method), body };
  }

  fail(error: AuthError): Answer {
    return this.#options.own.fail(error);
  }

  refuse(status: HttpRefusal): Answer {
    return this.#options.own.refuse(status);
  }

  /** The server that leads for this request; undefined if that cannot be told now. */
  async #leaderOf(request: RouteRequest): Promise<Leader | undefined> {
    const { lead, name, users } = this.#options;
    const { percent } = lead;
    if (percent === 0) return "theirs";
    if (percent === 100 && !isBearer(request)) return "ours";
    const credentials = await credentialsOf(name, request);
    if (credentials === undefined) return percent === 100 ? "ours" : "theirs";
    if (credentials.scheme === "basic") return lead.of(credentials.username) ?? "theirs";
    const subject = subjectOf(credentials.token);
    if (subject === undefined) return percent === 100 ? "ours" : "theirs";
    try {
      const user = await users.findBySubject(subject);
      return user === undefined ? "theirs" : lead.of(user.username);
    } catch {
      return percent === 100 ? "ours" : undefined;
    }
  }

  #answer(request: RouteRequest): Answer | Promise<Answer> {
    const { own } = this.#options;
    if (own.methods.includes(request.method)) return own.handle(request);
    const { headers, ...answer } = own.refuse(405);
    return { ...answer, headers: { ...headers, allow: own.methods.join(", ") } };
  }

  async #forward(request: RouteRequest): Promise<UpstreamAnswer> {
    const { upstream, review, name, now } = this.#options;
    const { method, body, req, headers } = request;
    const query = (req?.url ?? "").split("?").slice(1).join("?");
    const atMs = now();
    const answer = await upstream.exchange(
      {
        method,
        target: query === "" ? this.path : `${this.path}?${query}`,
        headers: requestHeaders(
          req?.rawHeaders ?? [],
          headers.connection,
          req?.socket.remoteAddress ?? "unknown",
        ),
        body: body.length > 0 ? body : undefined,
      },
      (answer) => answer,
    );
    review.consider(name, request, answer, atMs);
    return answer;
  }
}
