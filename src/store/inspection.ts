/** The findings of a store's own checks, for `doctor`. Depends on the domain's users. */
import type { User } from "../auth/users.js";

export interface Finding {
  /** `error` if something does not work. */
  readonly level: "ok" | "warning" | "error";
  readonly check:
    | "configuration"
    | "connection"
    | "clock"
    | "privileges"
    | "index"
    | "uniqueness"
    | "validator"
    | "keys"
    | "old server"
    | "users";
  readonly message: string;
  /** What to do about it. */
  readonly remedy?: string;
  /** The first few users concerned. */
  readonly users?: readonly Pick<User, "id" | "username">[];
}

export interface InspectionOptions {
  /** Whether to mend what can be mended without changing a user. */
  readonly fix: boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}
