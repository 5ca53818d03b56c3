/** Log lines for people, on a terminal. Depends on nothing. */

const colours: Readonly<Record<string, number>> = { fatal: 31, error: 31, warn: 33, info: 32 };
const paint = (colour: number, text: string) => `\u001b[${colour}m${text}\u001b[0m`;
const dim = (text: string) => paint(2, text);

/**
 * Formats a JSON line as time, level, message and the other fields, with a stack on lines of its
 * own.
 */
export function prettyLine(line: string): string {
  const fields = JSON.parse(line) as Record<string, unknown>;
  const { time, level, stream, event, msg, err, ...rest } = fields;
  const kind = String(level ?? stream);
  const { stack, ...error } = (err ?? {}) as { stack?: string };
  const details = Object.entries({ ...rest, ...error }).map(
    ([name, value]) =>
      `${dim(`${name}=`)}${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  const head = [
    dim(String(time).slice(11, 23)),
    paint(colours[kind] ?? 36, kind.toUpperCase().padEnd(5)),
    ...[event, msg].filter((text) => typeof text === "string"),
    ...details,
  ];
  const text = `${head.join(" ")}\n`;
  return stack === undefined ? text : `${text}${dim(stack)}\n`;
}
