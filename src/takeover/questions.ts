/**
 * Asks the old server whether a password is right, by its own REST paths: one question at a time per user, and a
 * limited number in all. Depends on cockatiel, auth and its neighbours.
 */
import { bulkhead, type BulkheadPolicy } from "cockatiel";
import { createHmac, randomBytes } from "node:crypto";
import { isIP } from "node:net";
import type { PasswordCredentials } from "../auth/credentials.js";
import { parseJson } from "../auth/json.js";
import { outageOf, upstreamFault } from "./outages.js";
import type { Upstream, UpstreamAnswer, UpstreamRequest } from "./upstream.js";

/** The names of the two REST paths in `UPSTREAM_PATHS`. */
export type PathName = "token" | "login";

/** The old server's verdict. `unaskable`: the path cannot carry these credentials. */
export type Word =
  | { readonly says: "yes"; readonly subject: string; readonly atMs: number }
  | { readonly says: "no"; readonly atMs: number }
  | { readonly says: "unaskable" };

export interface QuestionsOptions {
  readonly upstream: Upstream;
  /** The paths that the old server serves. */
  readonly paths: readonly PathName[];
  /** The number of questions at once. */
  readonly concurrency: number;
  /** Verifies a token of the old server and resolves with its subject. Rejects if it is not valid. */
  readonly verify: (token: string) => Promise<string>;
  readonly fold: (username: string) => string;
  readonly now: () => number;
  /** `cause` says in words why there is none. */
  readonly onWord: (says: Word["says"] | "unavailable", cause?: string) => void;
}

export const paths = {
  token: "/api/auth/token",
  login: "/api/v1/authentication/login",
} as const satisfies Record<PathName, string>;

export interface Question {
  readonly credentials: PasswordCredentials;
  /** The path of the login; used if the old server serves it. */
  readonly via: PathName;
  /** The client's address. */
  readonly address: string;
  /** How long the login has taken so far. */
  readonly elapsedMs: number;
  /** Called if a no arrives after `ask` has thrown. */
  readonly onLateNo: () => void;
}

/** The part of a login's time that is kept for its answer. */
const answerMs = 20;

const refusalStatus = { token: 403, login: 401 } as const satisfies Record<PathName, number>;

interface Flight {
  /** Identifies path and credentials, so that equal questions share one exchange. */
  readonly digest: string;
  readonly word: Promise<Word>;
}

export class Questions {
  readonly #options: QuestionsOptions;
  readonly #bulkhead: BulkheadPolicy;
  /** By username: the question that is being asked, and those that wait for it. */
  readonly #flights = new Map<string, Flight[]>();

  constructor(options: QuestionsOptions) {
    this.#options = options;
    this.#bulkhead = bulkhead(options.concurrency, Infinity);
  }

  /**
   * Asks about a login. Waits for earlier questions only so long that the whole login keeps to `UPSTREAM_TIMEOUT`,
   * but allows the question at least half of that time.
   * @throws AuthError `store_unavailable` if there is no answer in time, or neither of the documented ones
   */
  async ask({ credentials, via, address, elapsedMs, onLateNo }: Question): Promise<Word> {
    const { paths: served, fold, onWord, upstream } = this.#options;
    const path = served.includes(via) ? via : (served[0] ?? via);
    const request = requestOf(path, credentials, address);
    if (request === undefined) {
      onWord("unaskable");
      return { says: "unaskable" };
    }
    const digest = digestOf(path, credentials);
    const name = fold(credentials.username);
    const flights = this.#flights.get(name) ?? [];
    const same = flights.find((flight) => flight.digest === digest);
    if (same) return same.word;
    const last = flights.at(-1)?.word;
    const { timeoutMs } = upstream;
    const waitMs = Math.max(timeoutMs - elapsedMs - answerMs, timeoutMs / 2);
    const ask = (leftMs: number) => this.#ask(request, path, leftMs, onLateNo);
    const flight: Flight = { digest, word: this.#inTime(ask, waitMs, last) };
    this.#flights.set(name, [...flights, flight]);
    try {
      const word = await flight.word;
      onWord(word.says);
      return word;
    } catch (error) {
      onWord("unavailable", outageOf(error).message);
      throw error;
    } finally {
      const left = (this.#flights.get(name) ?? []).filter((each) => each !== flight);
      if (left.length > 0) this.#flights.set(name, left);
      else this.#flights.delete(name);
    }
  }

  /** Waits for earlier questions, then asks, with one timer for both. */
  async #inTime(
    ask: (leftMs: number) => Promise<Word>,
    waitMs: number,
    before: Promise<Word> | undefined,
  ): Promise<Word> {
    const endMs = performance.now() + waitMs;
    let timer: NodeJS.Timeout | undefined;
    let isOver = false;
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        isOver = true;
        reject(upstreamFault("was not asked in time"));
      }, waitMs);
    });
    const asking = async () => {
      await before?.catch(() => undefined);
      return this.#bulkhead.execute(() => {
        if (isOver) throw upstreamFault("was not asked in time");
        return ask(endMs - performance.now());
      });
    };
    try {
      return await Promise.race([asking(), deadline]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #ask(
    request: UpstreamRequest,
    path: PathName,
    waitMs: number,
    onLateNo: () => void,
  ): Promise<Word> {
    const { upstream, now, verify } = this.#options;
    const atMs = now();
    const token = await upstream.exchange(
      request,
      (answer) => (isRefusal(answer, path) ? undefined : tokenOf(answer, path)),
      waitMs,
      (answer) => isRefusal(answer, path) && onLateNo(),
    );
    if (token === undefined) return { says: "no", atMs };
    try {
      return { says: "yes", subject: await verify(token), atMs };
    } catch (error) {
      throw upstreamFault("gives a token that cannot be verified", error);
    }
  }
}

/** The request that asks; undefined if the path cannot carry the credentials. */
function requestOf(
  path: PathName,
  { username, password }: PasswordCredentials,
  address: string,
): UpstreamRequest | undefined {
  const isUnwritable = path === "token" && username.includes(":");
  if (isUnwritable || /\0/.test(username + password)) return undefined;
  const headers = ["accept", "application/json"];
  if (isIP(address) !== 0) headers.push("x-forwarded-for", address);
  if (path === "token") {
    const pair = Buffer.from(`${username}:${password}`).toString("base64");
    headers.push("authorization", `Basic ${pair}`);
    return { method: "POST", target: paths.token, headers, body: undefined };
  }
  headers.push("content-type", "application/json");
  const body = Buffer.from(JSON.stringify({ username, password }));
  return { method: "POST", target: paths.login, headers, body };
}

const digestKey = randomBytes(32);

/** A keyed digest, so that the table of questions holds no passwords. */
function digestOf(path: PathName, { username, password }: PasswordCredentials): string {
  const text = JSON.stringify([path, username, password]);
  return createHmac("sha256", digestKey).update(text).digest("base64");
}

function membersOf({ body }: UpstreamAnswer): Readonly<Record<string, unknown>> {
  const value = parseJson(body);
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

/** Whether the answer is the old server's documented refusal, and not that of a proxy before it. */
export function isRefusal(answer: UpstreamAnswer, path: PathName): boolean {
  if (answer.status !== refusalStatus[path]) return false;
  if (path === "token") return answer.body.length === 0;
  try {
    const { error, messages } = membersOf(answer);
    return error === true && Array.isArray(messages);
  } catch {
    return false;
  }
}

/**
 * The token in the documented answer 200.
 * @throws AuthError `store_unavailable` if it is another answer
 */
export function tokenOf(answer: UpstreamAnswer, path: PathName): string {
  if (answer.status !== 200) throw upstreamFault(`answers ${answer.status}`);
  let members: Readonly<Record<string, unknown>>;
  try {
    members = membersOf(answer);
  } catch (error) {
    throw upstreamFault("gives an answer that is not JSON", error);
  }
  const [isSuccess, token] =
    path === "token"
      ? [members["isSuccess"] === true, members["token"]]
      : [members["error"] === false, members["data"]];
  if (!isSuccess || typeof token !== "string") throw upstreamFault("answers 200 without a token");
  return token;
}
