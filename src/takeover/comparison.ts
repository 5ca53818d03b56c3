/**
 * Where the old server's answers and ours differ, by kind. What the old server differs in from itself is noise,
 * learnt from its answers as they come. Depends on the contract's aspects, the server's types and its neighbours.
 */
import { createHash } from "node:crypto";
import { aspectsOf, claimsOf, tokenOf, type Aspects } from "../contract/aspects.js";

/** An answer of either server. */
export interface ComparedAnswer {
  readonly status: number;
  /** By lower-case names. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

/** Headers that say nothing of the answer, or that only one server can have. */
const ignoredHeaders = new Set([
  ...["date", "server", "x-powered-by", "x-request-id", "via", "age", "content-length"],
]);

/** Twice the same within this time says nothing: a time stamp may have whole seconds. */
const apartMs = 1100;
const classesMax = 64;
const aspectsMax = 64;

interface Seen {
  readonly digest: string;
  readonly atMs: number;
  varies: boolean;
}

export class Comparison {
  /** What the old server has answered so far, by path and status, then by aspect. */
  readonly #seen = new Map<string, Map<string, Seen>>();

  /**
   * The aspects in which the answers differ and that the old server itself keeps to.
   * @param atMs when the request came.
   */
  differences(path: string, old: ComparedAnswer, own: ComparedAnswer, atMs: number): string[] {
    const [theirs, ours] = [steadyAspects(old), steadyAspects(own)];
    const steady = Object.keys(theirs).filter((aspect) => theirs[aspect] !== ours[aspect]);
    // Another status says all about the rest.
    if (steady.includes("status")) return ["status"];
    const [theirRest, ourRest] = [unsteadyAspects(old), unsteadyAspects(own)];
    const constant = this.#constantOf(`${path} ${old.status}`, theirRest, atMs);
    return [...steady, ...constant.filter((aspect) => theirRest[aspect] !== ourRest[aspect])];
  }

  /** Those in which the old server has not differed from itself, as far as can be told yet. */
  #constantOf(name: string, aspects: Aspects, atMs: number): string[] {
    let seen = this.#seen.get(name);
    if (seen === undefined) {
      if (this.#seen.size >= classesMax) this.#seen.clear();
      this.#seen.set(name, (seen = new Map<string, Seen>()));
    }
    for (const [aspect, before] of seen) if (aspects[aspect] === undefined) before.varies = true;
    return Object.entries(aspects).flatMap(([aspect, value = ""]) => {
      const digest = createHash("sha256").update(value).digest("base64");
      const before = seen.get(aspect);
      if (before === undefined) {
        if (seen.size < aspectsMax) seen.set(aspect, { digest, atMs, varies: false });
        return [];
      }
      before.varies ||= before.digest !== digest;
      return before.varies || atMs < before.atMs + apartMs ? [] : aspect;
    });
  }
}

/** What has the same value each time, or none. */
function steadyAspects(answer: ComparedAnswer): Aspects {
  const { status, token_exp: shown, "minutes of the message": minutes } = aspectsOf(answer);
  const jwt = answer.status === 200 ? tokenOf(answer) : undefined;
  return {
    status,
    ...(shown !== undefined && { token_exp: shown }),
    ...(minutes !== undefined && { "minutes of the message": minutes }),
    ...(jwt !== undefined && claimsOf(jwt)),
  };
}

/** What may be another each time, whoever answers. */
function unsteadyAspects(answer: ComparedAnswer): Aspects {
  const { body = "" } = aspectsOf(answer);
  const headers = Object.entries(answer.headers)
    .filter(([name, value]) => !ignoredHeaders.has(name) && value !== undefined)
    .map(([name, value]) => [`header ${name}`, [value].flat().join(", ")] as const);
  return { ...Object.fromEntries(headers), body, "body's shape": shapeOf(body) };
}

/** The members of a JSON text in their order with the types of their values. */
function shapeOf(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), (_, value: unknown) =>
      typeof value === "object" && value !== null ? value : typeof value,
    );
  } catch {
    return text === "" ? "empty" : "text";
  }
}
