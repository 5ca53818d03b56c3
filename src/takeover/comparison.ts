/**
 * Compares the old server's answers with Latchkey's. An aspect that varies among the old server's own answers is
 * noise and does not count; which ones vary is learnt from its answers. Depends on the contract's aspects, the
 * server's types and its neighbours.
 */
import { createHash } from "node:crypto";
import { aspectsOf, claimsOf, tokenOf, type Aspects } from "../contract/aspects.js";

/** An answer of either server. */
export interface ComparedAnswer {
  readonly status: number;
  /** By names in lower case. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

/** Headers that do not depend on the answer, or that only one of the servers can have. */
const ignoredHeaders = new Set([
  ...["date", "server", "x-powered-by", "x-request-id", "via", "age", "content-length"],
]);

/** Two equal values less than this apart prove nothing: a time stamp may count whole seconds. */
const apartMs = 1100;
const classesMax = 64;
const aspectsMax = 64;

interface Seen {
  readonly digest: string;
  readonly atMs: number;
  varies: boolean;
}

export class Comparison {
  /** The old server's first answers, by path and status, then by aspect. */
  readonly #seen = new Map<string, Map<string, Seen>>();

  /**
   * The aspects in which the answers differ and which the old server itself keeps constant.
   * @param atMs when the request arrived
   */
  differences(path: string, old: ComparedAnswer, own: ComparedAnswer, atMs: number): string[] {
    const [theirs, ours] = [steadyAspects(old), steadyAspects(own)];
    const steady = Object.keys(theirs).filter((aspect) => theirs[aspect] !== ours[aspect]);
    // With another status, everything else differs too.
    if (steady.includes("status")) return ["status"];
    const [theirRest, ourRest] = [unsteadyAspects(old), unsteadyAspects(own)];
    const constant = this.#constantOf(`${path} ${old.status}`, theirRest, atMs);
    return [...steady, ...constant.filter((aspect) => theirRest[aspect] !== ourRest[aspect])];
  }

  /** The aspects that have been the same in all answers of the old server so far. */
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

/** Aspects that do not vary between equal requests. */
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

/** Aspects that may vary between equal requests, at either server. */
function unsteadyAspects(answer: ComparedAnswer): Aspects {
  const { body = "" } = aspectsOf(answer);
  const headers = Object.entries(answer.headers)
    .filter(([name, value]) => !ignoredHeaders.has(name) && value !== undefined)
    .map(([name, value]) => [`header ${name}`, [value].flat().join(", ")] as const);
  return { ...Object.fromEntries(headers), body, "body's shape": shapeOf(body) };
}

/** The members of a JSON text in their order, with the types of their values. */
function shapeOf(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), (_, value: unknown) =>
      typeof value === "object" && value !== null ? value : typeof value,
    );
  } catch {
    return text === "" ? "empty" : "text";
  }
}
