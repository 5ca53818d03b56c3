/**
 * `USERS_DISABLED_FIELD`: what the fields of an adopted collection say of whether a user may log in.
 * Depends on its neighbour `instant.ts` and `config/conditions.ts`.
 *
 *     disabled              whoever has it: anything but false, 0, null, "active" and "enabled"
 *     !is_active            whoever has anything but true, 1, "active" and "enabled"
 *     status=banned,closed  whoever has one of these values
 *     !status=active        whoever has none of these values
 *     locked_at:date        whoever has anything there; what Latchkey writes is a date
 *     !confirmed_at:date    whoever has nothing there
 *     lockedUntil>now       whoever has a date to come
 *     !banExpires<now       whoever has no date that has passed
 *
 * Several are separated by commas, any of them disables; `a&b` disables whoever fits both.
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

  /** A value whose meaning is not known disables. */
  isDisabled(at: Lookup): boolean {
    return this.#conditions.some((condition) => holds(condition, at));
  }

  /**
   * What to write so that a user is disabled or enabled, `undefined` for a field that goes: of a
   * disabled user the first condition, of an enabled one whatever disables him at present.
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

  /** What a new document has. */
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

/** The last day that every framework can still read. */
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
