/**
 * Finds the objects in a JSON file: those of a list, of a list in a member of the outermost object, or of such members
 * in a list of objects. Its memory does not grow with the file. Depends on its neighbour `lines.ts`.
 */
import type { Line } from "./lines.js";

/** The systems whose exports can be read. */
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

/** Collects the bytes of one object from the chunks that it spans. */
class Collector {
  readonly #bytesMax: number;
  #parts: Buffer[] = [];
  #length = 0;
  #line = 0;
  /** The object's start in the present chunk; undefined if no object is open. */
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

  /** Adds the object's bytes in the chunk. */
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
 * Yields the objects, each with the number of the line in which it begins. Ignores everything between them.
 *
 * @param member the name of the member that holds the list, if there is one. In a file that is a list, objects with
 *   such a member are replaced by the objects in it.
 * @param isList whether the file is a list
 */
export async function* readObjects(
  chunks: AsyncIterable<Buffer>,
  bytesMax: number,
  member: string | undefined,
  isList: boolean,
): AsyncGenerator<Line> {
  /** The depth of the objects in the file's own list, and below of those in a member's list. */
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
  /** The start of the last string in an outer object: the name of a member, if a value follows. */
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
