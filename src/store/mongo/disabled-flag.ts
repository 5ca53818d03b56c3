/**
 * `USERS_DISABLED_FIELD`: what the field of an adopted collection says of whether a user may log in.
 * Depends on its neighbour `instant.ts`.
 *
 *     disabled              whoever has it: anything but false, 0, null, "active" and "enabled"
 *     !is_active            whoever has anything but true, 1, "active" and "enabled"
 *     status=banned,closed  whoever has one of these values
 *     !status=active        whoever has none of these values
 *     locked_at:date        whoever has anything there; what Latchkey writes is a date
 *     lockedUntil>now       whoever has a date to come
 */
import { toInstant } from "./instant.js";

export interface DisabledFlag {
  readonly path: string;
  /** What it may mean that is not said is that the user is disabled. */
  isDisabled(value: unknown): boolean;
  /** What to write; undefined: nothing, the field goes. */
  valueFor(disabled: boolean): unknown;
}

export function parseDisabledFlag(text: string): DisabledFlag {
  const [, not, path = "", test, list = ""] = /^(!?)([^=>:]+)(>now|:date|=)?(.*)$/.exec(text) ?? [];
  const inverted = not === "!";
  if (test === ">now") return untilFlag(path);
  if (test === ":date") return dateFlag(path);
  return test === "=" ? listFlag(path, list.split(","), inverted) : booleanFlag(path, inverted);
}

const enabledWords: unknown[] = ["active", "enabled"];

function booleanFlag(path: string, inverted: boolean): DisabledFlag {
  const enabled: unknown[] = inverted ? [true, 1] : [undefined, null, false, 0];
  return {
    path,
    isDisabled: (value) => ![...enabled, ...enabledWords].includes(value),
    valueFor: (disabled) => disabled !== inverted,
  };
}

function listFlag(path: string, values: readonly string[], inverted: boolean): DisabledFlag {
  const [first = ""] = values;
  const listed: unknown = first === "true" || first === "false" ? first === "true" : first;
  const other = typeof listed === "boolean" ? !listed : undefined;
  const text = (value: unknown) =>
    ["string", "number", "boolean"].includes(typeof value) ? String(value) : undefined;
  return {
    path,
    isDisabled: (value) => values.includes(text(value) ?? "") !== inverted,
    valueFor: (disabled) => {
      if (disabled !== inverted) return listed;
      return inverted ? (other ?? "disabled") : other;
    },
  };
}

function dateFlag(path: string): DisabledFlag {
  return {
    ...booleanFlag(path, false),
    valueFor: (disabled) => (disabled ? new Date() : undefined),
  };
}

/** The last day that every framework can still read. */
const forever = new Date("9999-12-31T00:00:00Z");

function untilFlag(path: string): DisabledFlag {
  return {
    path,
    isDisabled: (value) => (toInstant(value)?.getTime() ?? -Infinity) > Date.now(),
    valueFor: (disabled) => (disabled ? forever : undefined),
  };
}
