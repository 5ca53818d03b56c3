/** The filters and updates of MongoDB that Latchkey's stores use. Any other one throws. */
export type Document = Readonly<Record<string, unknown>> & { readonly _id: unknown };
type Condition = Readonly<Record<string, unknown>>;

/** Equal for equal values, and only for them. */
export function keyOf(value: unknown): string {
  if (typeof value === "string") return `"${value}`;
  if (value === null || value === undefined) return "null";
  if (value instanceof Date) return `date ${value.getTime()}`;
  return JSON.stringify(value);
}

const isPlain = (value: unknown): value is Condition =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;

export function matches(document: Document, filter: Condition): boolean {
  return Object.entries(filter).every(([path, condition]) => {
    if (path === "$and" || path === "$or") {
      const parts = condition as Condition[];
      return path === "$and"
        ? parts.every((part) => matches(document, part))
        : parts.some((part) => matches(document, part));
    }
    if (path.startsWith("$") || path.includes(".")) throw new Error(`the model has no ${path}`);
    return meets(document[path], condition);
  });
}

function meets(value: unknown, condition: unknown): boolean {
  const operators = isPlain(condition) ? Object.entries(condition) : [];
  if (!operators.some(([name]) => name.startsWith("$"))) return keyOf(value) === keyOf(condition);
  return operators.every(([name, operand]) => {
    switch (name) {
      case "$eq":
        return keyOf(value) === keyOf(operand);
      case "$in":
        return (operand as unknown[]).some((each) => keyOf(value) === keyOf(each));
      case "$gt":
        return typeof value === typeof operand && (value as number) > (operand as number);
      case "$type":
        if (operand !== "string") break;
        return typeof value === "string";
    }
    throw new Error(`the model has no ${name}`);
  });
}

/** The document after an update; `before` has the filter's `_id` alone if the update inserts it. */
export function updated(before: Document, update: Condition): Document {
  const after: Record<string, unknown> = { ...before };
  for (const [operator, fields] of Object.entries(update)) {
    for (const [path, operand] of Object.entries(fields as Condition)) {
      if (path.includes(".")) throw new Error(`the model has no path ${path}`);
      const value = after[path];
      if (operator === "$set") after[path] = operand;
      else if (operator === "$unset") Reflect.deleteProperty(after, path);
      else if (operator === "$inc") after[path] = Number(value ?? 0) + Number(operand);
      else if (operator === "$max") {
        if (value === undefined || (value as number) < (operand as number)) after[path] = operand;
      } else throw new Error(`the model has no ${operator}`);
    }
  }
  return after as Document;
}

export function sorted(documents: readonly Document[], sort: Readonly<Record<string, unknown>>) {
  const [[path, direction] = [], ...others] = Object.entries(sort);
  if (path === undefined || others.length > 0) throw new Error("the model sorts by one field");
  const sign = direction === 1 ? 1 : -1;
  const rank = (document: Document) => document[path] as number | undefined;
  return [...documents].sort((a, b) => {
    const [x, y] = [rank(a), rank(b)];
    // A missing field comes first.
    if (x === undefined || y === undefined)
      return sign * (Number(x !== undefined) - Number(y !== undefined));
    return x < y ? -sign : Number(x > y) * sign;
  });
}
