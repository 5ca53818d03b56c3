/**
 * Finds the objects of a JSON file in memory that does not grow with it: those of a list, of the list
 * that a member of the outermost object holds, or of such members in a list of objects. Depends on its neighbour `lines.ts`.
 */
import type { Line } from "./lines.js";

/** Whose exports can be read. */
export const importFormats = [
  "latchkey",
  "mongodb",
  "auth0",
  "firebase",
  "keycloak",
  "cognito",
] as const;
export type ImportFormatName = (typeof importFormats)[number];

const code = (character: string) => character.charCodeAt(0);
const quote = code('"');
const backslash = code("\\");
const lineFeed = 0x0a;
const [openBrace, closeBrace, openBracket, closeBracket] = Array.from("{}[]", code);

/** One object, taken from the chunks that it spans. */
class Collector {
  readonly #bytesMax: number;
  #parts: Buffer[] = [];
  #length = 0;
  #line = 0;
  /** Where in the present chunk it goes on; undefined where there is none. */
  #start: number | undefined;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get isOpen(): boolean {
    return this.#start !== undefined;
  }

  open(line: number, start: number): void {
    this.#parts = [];
    this.#length = 0;
    this.#line = line;
    this.#start = start;
  }

  drop(): void {
    this.#parts = [];
    this.#start = undefined;
  }

  /** Takes what the chunk has of it. */
  take(chunk: Buffer, end = chunk.length): void {
    if (this.#start === undefined) return;
    this.#length += end - this.#start;
    if (this.#length > this.#bytesMax) this.#parts = [];
    else this.#parts.push(chunk.subarray(this.#start, end));
    this.#start = 0;
  }

  close(): Line {
    const isTooLong = this.#length > this.#bytesMax;
    const line = { number: this.#line, bytes: isTooLong ? undefined : Buffer.concat(this.#parts) };
    this.drop();
    return line;
  }
}

/**
 * The objects with the number of the line that each begins in; what is between them is not looked at.
 *
 * @param member the name of the member that holds the list; undefined where there is none. In a file that is a
 *   list, those of its objects that have such a member stand for what that one lists.
 * @param isList whether the file is a list.
 */
export async function* readObjects(
  chunks: AsyncIterable<Buffer>,
  bytesMax: number,
  member: string | undefined,
  isList: boolean,
): AsyncGenerator<Line> {
  /** The depth at which the objects of the file's own list begin, and those of a member's. */
  const outerDepth = isList ? 1 : 0;
  const innerDepth = outerDepth + 2;
  const nameBytesMax = Buffer.byteLength(member ?? "");
  const outer = new Collector(bytesMax);
  const inner = new Collector(bytesMax);
  let depth = 0;
  let line = 1;
  let isInMember = false;
  let isInString = false;
  let isEscaped = false;
  /** The start of the latest string in an outer object, which names a member if a value follows. */
  let name: number[] = [];

  for await (const chunk of chunks) {
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i];
      if (byte === lineFeed) line++;
      if (isInString) {
        if (isEscaped) isEscaped = false;
        else if (byte === backslash) isEscaped = true;
        else if (byte === quote) isInString = false;
        const mayName = depth === outerDepth + 1 && name.length <= nameBytesMax;
        if (isInString && mayName && byte !== undefined) name.push(byte);
      } else if (byte === quote) {
        isInString = true;
        if (depth === outerDepth + 1) name = [];
      } else if (byte === openBrace || byte === openBracket) {
        if (byte === openBracket && depth === outerDepth + 1 && member !== undefined) {
          isInMember = Buffer.from(name).toString() === member;
          if (isInMember) outer.drop();
        }
        if (byte === openBrace && depth === outerDepth && isList) outer.open(line, i);
        if (byte === openBrace && depth === innerDepth && isInMember) inner.open(line, i);
        depth++;
      } else if (byte === closeBrace || byte === closeBracket) {
        depth--;
        for (const [collector, at] of [
          [outer, outerDepth],
          [inner, innerDepth],
        ] as const) {
          if (depth !== at || !collector.isOpen) continue;
          collector.take(chunk, i + 1);
          yield collector.close();
        }
        if (depth < innerDepth) isInMember = false;
      }
    }
    outer.take(chunk);
    inner.take(chunk);
  }
}
