/** What a store says of its own state to the operator. Depends on the domain's users. */
import type { User } from "../auth/users.js";

export interface Finding {
  /** `error`: something will not work. */
  readonly level: "ok" | "warning" | "error";
  readonly check:
    | "configuration"
    | "connection"
    | "clock"
    | "privileges"
    | "index"
    | "uniqueness"
    | "keys"
    | "users";
  readonly message: string;
  /** What to do about it. */
  readonly remedy?: string;
  /** Whom it is about, the first few. */
  readonly users?: readonly Pick<User, "id" | "username">[];
}

export interface InspectionOptions {
  /** Mends what can be mended without touching a user. */
  readonly fix: boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}
