/**
 * Reads JSON (RFC 8259) in the same way for every surface. Follows I-JSON (RFC 7493): refuses what
 * two parsers could read differently. Depends on nothing.
 */

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const token = /"(?:[^"\\]|\\.)*"|[{}[\],:]/g;

/**
 * @throws SyntaxError or TypeError if the bytes are not JSON in UTF-8, start with a byte order mark,
 * repeat a member name, or hold an unpaired surrogate.
 */
export function parseJson(bytes: Uint8Array): unknown {
  const text = utf8.decode(bytes);
  const value: unknown = JSON.parse(text);
  if (!isCanonical(text, value)) assertUnambiguous(text, (name) => name);
  return value;
}

/**
 * The members of a JSON object, by their names in lower case; empty for any other JSON value.
 *
 * @throws as {@link parseJson}, also where two names of an object differ by letter case alone.
 */
export function parseJsonIgnoringCase(bytes: Uint8Array): ReadonlyMap<string, unknown> {
  const text = utf8.decode(bytes);
  const value: unknown = JSON.parse(text);
  assertUnambiguous(text, lowerCase);
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  const members = isObject ? Object.entries(value) : [];
  return new Map(members.map(([name, member]) => [lowerCase(name), member]));
}

const lowerCase = (name: string) => name.toLowerCase();

/**
 * The longest text that is checked by JSON.stringify, which takes half as long as the walk. Longer
 * text may be nested too deep for it.
 */
const shortLength = 1024;

/** Whether JSON.stringify gives the text back: then no member name is repeated. */
function isCanonical(text: string, value: unknown): boolean {
  // An escape may be half of a surrogate pair, which JSON.stringify writes back as it is.
  return text.length <= shortLength && !text.includes("\\") && JSON.stringify(value) === text;
}

/** Refuses repeated member names and unpaired surrogates in text that is known to be JSON. */
function assertUnambiguous(text: string, fold: (name: string) => string): void {
  /** The member names of each open object; undefined for an array. */
  const open: (Set<string> | undefined)[] = [];
  let isName = false;
  for (const [lexeme] of text.matchAll(token)) {
    const names = open.at(-1);
    if (lexeme === "{" || lexeme === "[") open.push(lexeme === "{" ? new Set() : undefined);
    else if (lexeme === "}" || lexeme === "]") open.pop();
    else if (lexeme.startsWith('"')) {
      const string = lexeme.includes("\\") ? (JSON.parse(lexeme) as string) : lexeme.slice(1, -1);
      if (!string.isWellFormed()) throw new SyntaxError("unpaired surrogate");
      if (isName && names?.has(fold(string))) throw new SyntaxError("repeated member name");
      if (isName) names?.add(fold(string));
    }
    isName = open.at(-1) !== undefined && (lexeme === "{" || lexeme === ",");
  }
}
