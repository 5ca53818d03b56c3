/**
 * The take-over from an old server that still runs: creates its parts and connects them. Loaded only if
 * `UPSTREAM_URL` is set. Depends on auth, the server's types and its neighbours.
 */
import type { SecondOpinion } from "../auth/gate/gate.js";
import { foldUsername } from "../auth/throttle/throttle.js";
import type { UsernameKey } from "../auth/usernames.js";
import type { UserStore } from "../auth/users.js";
import type { Route } from "../server/route.js";
import { Comparison } from "./comparison.js";
import { KnownUsers } from "./known-users.js";
import { Lead } from "./lead.js";
import { Learner } from "./learner.js";
import { Questions, type PathName, type Word } from "./questions.js";
import { Review, type AnswerAlone } from "./review.js";
import { TakeoverRoute } from "./route.js";
import { OldServersOpinion } from "./second-opinion.js";
import type { TakeoverStore } from "./store.js";
import { Tally } from "./tally.js";
import { Upstream, type BreakerState } from "./upstream.js";

export type { PathName, AnswerAlone, BreakerState };

export type TakeoverEvent =
  | { readonly type: "lead"; readonly percent: number }
  | {
      readonly type: "question";
      readonly outcome: Word["says"] | "unavailable";
      /** Why it is unavailable, in words. */
      readonly cause?: string | undefined;
    }
  | { readonly type: "learnt"; readonly subject: string }
  /** `cause` says in words why it is not closed. */
  | {
      readonly type: "breaker";
      readonly state: BreakerState;
      readonly cause: string | undefined;
    }
  /** Work in the background failed; the next login tries it again. */
  | { readonly type: "failed"; readonly error: unknown };

export interface TakeoverOptions {
  /** Base URL of the old server, without a trailing slash. */
  readonly url: string;
  readonly ca: string | undefined;
  readonly paths: readonly PathName[];
  readonly timeoutMs: number;
  readonly concurrency: number;
  /** `UPSTREAM_LEAD`. */
  readonly lead: number;
  /** 0 for never. */
  readonly recheckMs: number;
  readonly store: TakeoverStore;
  readonly users: UserStore;
  readonly usernameKey: UsernameKey;
  /** 32 random bytes, the same for all processes on the store. */
  readonly secret: () => Promise<Uint8Array>;
  /** Hashes a password to learn; undefined with `UPSTREAM_LEARN=off`. */
  readonly hash: ((password: string) => Promise<string>) | undefined;
  /** Verifies a token of the old server and resolves with its subject. Rejects if it is not valid. */
  readonly verify: (token: string) => Promise<string>;
  readonly answerAlone: AnswerAlone;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly onEvent: (event: TakeoverEvent) => void;
}

export class Takeover {
  readonly users: KnownUsers;
  readonly opinion: SecondOpinion;
  readonly #options: TakeoverOptions;
  readonly #upstream: Upstream;
  readonly #lead: Lead;
  readonly #review: Review;
  readonly #tally: Tally;
  #written = Promise.resolve();

  constructor(options: TakeoverOptions) {
    const { url, ca, timeoutMs, store, usernameKey, verify, now, onEvent } = options;
    const onError = (error: unknown) => onEvent({ type: "failed", error });
    const fold = (username: string) => foldUsername(usernameKey(username));
    this.#options = options;
    this.#upstream = new Upstream({
      ...{ url, ca, timeoutMs },
      onBreaker: (state, cause) => {
        onEvent({ type: "breaker", state, cause });
        const breaker = { state, atMs: now(), cause };
        // One write after the other, so that the last change is the one that stays.
        this.#written = this.#written.then(() => store.setBreaker(breaker)).catch(onError);
      },
    });
    this.users = new KnownUsers({ users: options.users, learned: store, usernameKey });
    this.#lead = new Lead({
      ...{ store, fold, onError, secret: options.secret, variable: options.lead },
      onChange: (percent) => onEvent({ type: "lead", percent }),
    });
    this.#tally = new Tally(store, now);
    const learner = new Learner({
      ...{ store, usernameKey, now, onError, tally: this.#tally },
      ...{ hash: options.hash, recheckMs: options.recheckMs, from: new URL(url).host },
      onLearnt: (subject) => onEvent({ type: "learnt", subject }),
    });
    const questions = new Questions({
      ...{ upstream: this.#upstream, verify, fold, now },
      ...{ paths: options.paths, concurrency: options.concurrency },
      onWord: (outcome, cause) => onEvent({ type: "question", outcome, cause }),
    });
    const parts = { users: this.users, learner, tally: this.#tally };
    this.opinion = new OldServersOpinion({ ...parts, questions });
    this.#review = new Review({
      ...{ ...parts, verify, now, onError },
      ...{ answerAlone: options.answerAlone, comparison: new Comparison() },
    });
  }

  /** The route of a path during the take-over; `own` itself if the old server does not serve that path. */
  route(name: PathName, own: Route): Route {
    if (!this.#options.paths.includes(name)) return own;
    return new TakeoverRoute({
      ...{ own, name, lead: this.#lead, upstream: this.#upstream, users: this.users },
      ...{ review: this.#review, now: this.#options.now },
    });
  }

  /** Resolves once the lead was read from the store, or that has failed. */
  start(): Promise<void> {
    return this.#lead.start();
  }

  /** Drops the waiting work in the background, and writes the counters. */
  async stop(): Promise<void> {
    this.#lead.stop();
    this.#review.stop();
    await this.#review.settled();
    await this.#tally.flush();
    await this.#upstream.close();
    await this.#written;
  }

  state(): { readonly lead: number | undefined; readonly breaker: BreakerState } {
    return { lead: this.#lead.percent, breaker: this.#upstream.breakerState };
  }
}
