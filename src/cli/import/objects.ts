/**
 * Finds the objects of a JSON file in memory that does not grow with it: those of a list, or of the
 * list that a member of the outermost object holds. Depends on its neighbour `lines.ts`.
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

/**
 * The objects with the number of the line that each begins in; what is between them is not looked at.
 * @param member the name of the member that holds the list, undefined where the file is the list.
 */
export async function* readObjects(
  chunks: AsyncIterable<Buffer>,
  bytesMax: number,
  member: string | undefined,
): AsyncGenerator<Line> {
  const listDepth = member === undefined ? 1 : 2;
  let depth = 0;
  let line = 1;
  let isInList = false;
  let isInString = false;
  let isEscaped = false;
  /** The text of the latest string at depth 1, which names a member if a value follows. */
  let name: number[] = [];
  let parts: Buffer[] = [];
  let length = 0;
  let firstLine = 0;

  const collect = (part: Buffer) => {
    length += part.length;
    if (length > bytesMax) parts = [];
    else parts.push(part);
  };

  for await (const chunk of chunks) {
    let start = 0;
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i];
      if (byte === lineFeed) line++;
      if (isInString) {
        if (isEscaped) isEscaped = false;
        else if (byte === backslash) isEscaped = true;
        else if (byte === quote) isInString = false;
        if (isInString && depth === 1 && byte !== undefined) name.push(byte);
      } else if (byte === quote) {
        isInString = true;
        if (depth === 1) name = [];
      } else if (byte === openBrace || byte === openBracket) {
        if (byte === openBracket && depth === listDepth - 1) {
          isInList = member === undefined || Buffer.from(name).toString() === member;
        }
        if (isInList && depth === listDepth && byte === openBrace) {
          firstLine = line;
          start = i;
          length = 0;
          parts = [];
        }
        depth++;
      } else if (byte === closeBrace || byte === closeBracket) {
        depth--;
        if (isInList && depth === listDepth && byte === closeBrace) {
          collect(chunk.subarray(start, i + 1));
          yield { number: firstLine, bytes: length > bytesMax ? undefined : Buffer.concat(parts) };
          start = i + 1;
        }
        if (depth < listDepth) isInList = false;
      }
    }
    if (isInList && depth > listDepth) collect(chunk.subarray(start));
  }
}
