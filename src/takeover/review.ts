/**
 * Reviews the old server's answers after the client has them: compares them with Latchkey's own, and learns the
 * passwords that they accept. Works in the background, one answer at a time, within bounds. Depends on auth, the
 * server's types and its neighbours.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Authorization } from "../auth/credentials.js";
import { decompress } from "../server/compressed-body.js";
import type { Answer } from "../server/exchange.js";
import type { RouteRequest } from "../server/route.js";
import type { Comparison, ComparedAnswer } from "./comparison.js";
import { credentialsOf, subjectOf } from "./credentials.js";
import { answerHeaders } from "./headers.js";
import type { KnownUsers } from "./known-users.js";
import type { Learner } from "./learner.js";
import { isRefusal, tokenOf, type PathName } from "./questions.js";
import type { LearnedUser } from "./store.js";
import { dayOf, type Tally } from "./tally.js";
import type { UpstreamAnswer } from "./upstream.js";

/** The answer that Latchkey alone would have given. */
export interface OwnAnswer {
  readonly answer: Answer;
  /** Whether the password fits the known hash; undefined if that was not checked. */
  readonly matches: boolean | undefined;
}

/** Computes Latchkey's own answer; undefined if that is not possible now. Counts and writes nothing. */
export type AnswerAlone = (path: PathName, request: RouteRequest) => Promise<OwnAnswer | undefined>;

export interface ReviewOptions {
  readonly answerAlone: AnswerAlone;
  readonly comparison: Comparison;
  readonly users: KnownUsers;
  readonly learner: Learner;
  readonly tally: Tally;
  readonly verify: (token: string) => Promise<string>;
  readonly now: () => number;
  readonly onError: (error: unknown) => void;
}

interface Case {
  readonly path: PathName;
  readonly request: RouteRequest;
  readonly answer: UpstreamAnswer;
  readonly atMs: number;
}

/** How many answers may wait. One that is dropped does no harm: the user's next login tells as much. */
const waitingMax = 1024;
/** Comparing may take 1 % of a core's time, plus up to 5 s of it saved while there was less to compare. */
const share = 0.01;
const savedMsMax = 5000;

export class Review {
  readonly #options: ReviewOptions;
  readonly #waiting: Case[] = [];
  #running: Promise<void> | undefined;
  #savedMs = savedMsMax;
  #savedAtMs = performance.now();

  constructor(options: ReviewOptions) {
    this.#options = options;
  }

  /** Queues an answer for review and returns at once. */
  consider(path: PathName, request: RouteRequest, answer: UpstreamAnswer, atMs: number): void {
    const isLogin = path === "login" || /^basic /i.test(request.headers.authorization ?? "");
    const isYes = answer.status === 200 && isLogin;
    if (isYes) this.#options.tally.count("by_old");
    // Answers that only could be compared are dropped when the time for comparing is used up.
    if (this.#waiting.length >= waitingMax || !(isYes || this.#mayCompare())) return;
    this.#waiting.push({ path, request, answer, atMs });
    this.#running ??= this.#run().finally(() => (this.#running = undefined));
  }

  /** Resolves when no answer waits. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** Drops the answers that wait. */
  stop(): void {
    this.#waiting.length = 0;
  }

  async #run(): Promise<void> {
    for (;;) {
      // Waits for the next turn of the event loop, so that the client is answered first.
      await nextTurn();
      const next = this.#waiting.shift();
      if (next === undefined) return;
      await this.#review(next).catch(this.#options.onError);
    }
  }

  #mayCompare(): boolean {
    const nowMs = performance.now();
    this.#savedMs = Math.min(savedMsMax, this.#savedMs + (nowMs - this.#savedAtMs) * share);
    this.#savedAtMs = nowMs;
    return this.#savedMs > 0;
  }

  async #review(given: Case): Promise<void> {
    const { users } = this.#options;
    const startMs = performance.now();
    const credentials = await credentialsOf(given.path, given.request);
    const user =
      credentials?.scheme === "basic"
        ? await users.findByUsername(credentials.username)
        : undefined;
    const record = users.recordOf(user);
    let own: OwnAnswer | undefined;
    if (this.#mayCompare()) {
      own = await this.#options.answerAlone(given.path, given.request);
      if (own) await this.#compare(given, own, credentials, record);
      this.#savedMs -= performance.now() - startMs;
    }
    if (credentials?.scheme !== "basic" || given.answer.status !== 200) return;
    const { username, password } = credentials;
    const matches = own?.matches;
    const { learner, verify, now } = this.#options;
    const isToday = record?.day === dayOf(now());
    if (isToday && learner.isRecent(record) && matches !== false) return;
    const subject = await verify(tokenOf(given.answer, given.path));
    const { atMs } = given;
    await learner.hearYes({ subject, username, password, atMs, user, record, matches });
  }

  async #compare(
    { path, answer, request, atMs }: Case,
    own: OwnAnswer,
    credentials: Authorization | undefined,
    record: LearnedUser | undefined,
  ): Promise<void> {
    const { comparison, tally, learner } = this.#options;
    // A failure of the old server is not compared.
    if (answer.status >= 500) return;
    const old = await plain(answer);
    const ours = toCompared(own.answer, request);
    const verdicts = [verdictOf(answer, path), own.answer.status === 200 ? "yes" : "no"];
    const subject = subjectIn(old) ?? subjectIn(ours) ?? record?.subject;
    const differ = (kind: string) => tally.differ(`${path} ${kind}`, subject);
    if (verdicts[0] === "yes" && verdicts[1] === "no") {
      // If Latchkey led, it would ask the old server before it refuses.
      const wouldAsk = own.matches === false || (await this.#isUnknown(credentials));
      if (!wouldAsk) differ("verdict: the old server accepts what Latchkey refuses");
    } else if (verdicts[0] === "no" && verdicts[1] === "yes") {
      const wouldAsk = credentials?.scheme === "basic" && !learner.isFresh(record);
      if (!wouldAsk) differ("verdict: Latchkey accepts what the old server refuses");
    } else {
      for (const aspect of comparison.differences(path, old, ours, atMs)) differ(aspect);
    }
    tally.count("compared");
  }

  /** Whether it is a token of a user unknown to Latchkey: the old server answers those. */
  async #isUnknown(credentials: Authorization | undefined): Promise<boolean> {
    if (credentials?.scheme !== "bearer") return false;
    const subject = subjectOf(credentials.token);
    if (subject === undefined) return false;
    return (await this.#options.users.findBySubject(subject)) === undefined;
  }
}

function verdictOf(answer: UpstreamAnswer, path: PathName): "yes" | "no" | "neither" {
  if (isRefusal(answer, path)) return "no";
  try {
    tokenOf(answer, path);
    return "yes";
  } catch {
    return "neither";
  }
}

const subjectIn = ({ body }: ComparedAnswer) => {
  const token = /"(eyJ[\w-]+\.[\w-]+\.[\w-]*)"/.exec(body)?.[1];
  return token === undefined ? undefined : subjectOf(token);
};

const answerBytesMax = 1_048_576;

/** The old server's answer with its body decompressed, as text. */
async function plain({ status, headers, body }: UpstreamAnswer): Promise<ComparedAnswer> {
  const { "content-encoding": encoding, ...kept } = answerHeaders(headers);
  const bytes = await decompress([encoding].flat()[0], body, answerBytesMax);
  return { status, headers: kept, body: Buffer.from(bytes).toString() };
}

function toCompared(
  { status, headers = {}, body = "" }: Answer,
  { method }: RouteRequest,
): ComparedAnswer {
  const texts: Record<string, string | string[] | undefined> = {};
  for (const [name, value] of Object.entries(headers)) {
    texts[name] = typeof value === "number" ? String(value) : value;
  }
  // An answer to HEAD has no body on the wire.
  return { status, headers: texts, body: method === "HEAD" ? "" : Buffer.from(body).toString() };
}
