/**
 * `USERS_DISABLED_FIELD`: evaluates the conditions under which a user is disabled, and writes fields that
 * meet them. Depends on its neighbour `instant.ts` and `config/conditions.ts`.
 *
 *     condition             disables a user whose field
 *     disabled              has any value but false, 0, null, "active" and "enabled"
 *     !is_active            has any value but true, 1, "active" and "enabled", or is missing
 *     status=banned,closed  has one of these values
 *     !status=active        has none of these values
 *     locked_at:date        has any value; Latchkey writes a date
 *     !confirmed_at:date    has no value
 *     lockedUntil>now       has a date in the future
 *     !banExpires<now       has no date in the past
 *
 * Commas separate conditions, any of which disables; `a&b` disables if both hold.
 */
import { parseConditions, type Condition, type FieldTest } from "../../config/conditions.js";
import { toInstant } from "./instant.js";

/** The value of a document at a path. */
export type Lookup = (path: string) => unknown;

export class DisabledFlag {
  readonly paths: readonly string[];
  readonly #conditions: readonly Condition[];

  constructor(text: string) {
    this.#conditions = parseConditions(text) ?? [];
    this.paths = [...new Set(this.#conditions.flat().map(({ path }) => path))];
  }

  /** Whether any condition holds. A value that is not understood disables. */
  isDisabled(at: Lookup): boolean {
    return this.#conditions.some((condition) => holds(condition, at));
  }

  /**
   * The fields to write so that a user is disabled or enabled, `undefined` for a field to remove. Disabling
   * writes the first condition; enabling changes each condition that disables the user at present.
   */
  changes(disabled: boolean, at: Lookup): Record<string, unknown> {
    const [first = []] = this.#conditions;
    const tests = disabled
      ? this.isDisabled(at)
        ? []
        : first
      : this.#conditions.filter((each) => holds(each, at)).flatMap((each) => each.slice(0, 1));
    return Object.fromEntries(tests.map((test) => [test.path, valueFor(test, disabled)]));
  }

  /** The fields of a new document. */
  values(disabled: boolean): Record<string, unknown> {
    const [first = [], ...others] = this.#conditions;
    const entries = (tests: Condition, is: boolean) =>
      tests.map((test) => [test.path, valueFor(test, is)] as const);
    return Object.fromEntries<unknown>([
      ...others.flatMap((each) => entries(each.slice(0, 1), false)),
      ...entries(disabled ? first : first.slice(0, 1), disabled),
    ]);
  }
}

const holds = (condition: Condition, at: Lookup) =>
  condition.every((test) => disables(test, at(test.path)));

const enabledWords: readonly unknown[] = ["active", "enabled"];

function disables({ kind, inverted, values }: FieldTest, value: unknown): boolean {
  switch (kind) {
    case "flag":
      return !isEnabled(value, inverted);
    case "values":
      return values.includes(textOf(value) ?? "") !== inverted;
    case "date":
      return isEnabled(value, false) === inverted;
    case "future":
      return (toInstant(value)?.getTime() ?? -Infinity) > Date.now() !== inverted;
    case "past":
      return (toInstant(value)?.getTime() ?? Infinity) < Date.now() !== inverted;
  }
}

function isEnabled(value: unknown, inverted: boolean): boolean {
  const enabled: readonly unknown[] = inverted ? [true, 1] : [undefined, null, false, 0];
  return enabled.includes(value) || enabledWords.includes(value);
}

const textOf = (value: unknown) =>
  ["string", "number", "boolean"].includes(typeof value) ? String(value) : undefined;

/** The last day that every framework can read. */
const forever = new Date("9999-12-31T00:00:00Z");

function valueFor({ kind, inverted, values }: FieldTest, disabled: boolean): unknown {
  const isToHold = disabled !== inverted;
  switch (kind) {
    case "flag":
      return isToHold;
    case "values":
      return listedOrOther(values, isToHold, inverted);
    case "date":
      return isToHold ? new Date() : undefined;
    case "future":
      return isToHold ? forever : undefined;
    case "past":
      return isToHold ? new Date(0) : undefined;
  }
}

function listedOrOther([first = ""]: readonly string[], isToHold: boolean, inverted: boolean) {
  const listed = first === "true" || first === "false" ? first === "true" : first;
  if (isToHold) return listed;
  const other = typeof listed === "boolean" ? !listed : undefined;
  return inverted ? (other ?? "disabled") : other;
}
