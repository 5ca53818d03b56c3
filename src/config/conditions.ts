/**
 * The grammar of `USERS_DISABLED_FIELD`: a list of conditions, any of which disables a user. Depends
 * on nothing.
 *
 *     blocked,!confirmed              conditions are separated by a comma or a semicolon
 *     status=banned,closed            after `=` a comma separates values; `;` ends them
 *     LockoutEnd>now&LockoutEnabled   `&` joins tests that must all hold
 */

/** How the value of a field is tested; store/mongo/disabled-flag.ts has the meaning of each kind. */
export type TestKind = "flag" | "values" | "date" | "future" | "past";

export interface FieldTest {
  readonly path: string;
  /** Whether the test is negated by `!`. */
  readonly inverted: boolean;
  readonly kind: TestKind;
  /** The values of a test with `=`. */
  readonly values: readonly string[];
}

/** Tests that must all hold. */
export type Condition = readonly FieldTest[];

const form = /^(!?)([^.$\s!=<>:&]+(?:\.[^.$\s!=<>:&]+)*)(?:(=)(.+)|(:date|>now|<now))?$/s;
const kinds = { ":date": "date", ">now": "future", "<now": "past" } as const;

/** Parses `USERS_DISABLED_FIELD`. Returns undefined if the text does not follow the grammar. */
export function parseConditions(text: string): readonly Condition[] | undefined {
  const conditions = text.split(";").flatMap(splitAtCommas).map(parseCondition);
  return conditions.every((condition) => condition !== undefined) ? conditions : undefined;
}

/** A comma separates conditions, unless it is between the values of a test with `=`. */
function splitAtCommas(text: string): string[] {
  const parts: string[] = [];
  for (const part of text.split(",")) {
    const previous = parts.at(-1);
    const isValue = previous?.split("&").at(-1)?.includes("=") && !/[!=<>:&]/.test(part);
    if (isValue) parts[parts.length - 1] = `${previous},${part}`;
    else parts.push(part.trim());
  }
  return parts;
}

function parseCondition(text: string): Condition | undefined {
  const tests = text.split("&").map(parseTest);
  return tests.every((test) => test !== undefined) ? tests : undefined;
}

function parseTest(text: string): FieldTest | undefined {
  const [matched, not, path = "", equals, values = "", word] = form.exec(text.trim()) ?? [];
  if (matched === undefined) return undefined;
  return {
    path,
    inverted: not === "!",
    kind: word ? kinds[word as keyof typeof kinds] : equals ? "values" : "flag",
    values: equals ? values.split(",").map((value) => value.trim()) : [],
  };
}
