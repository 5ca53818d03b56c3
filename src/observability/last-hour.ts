/**
 * The outcomes of the last hour's logins and renewals, minute by minute. Depends on auth's types.
 */
import type { AuthErrorCode } from "../auth/errors.js";
import type { AttemptReason } from "../auth/gate/gate.js";

export type RenewalOutcome = "renewed" | "renewal_refused" | "renewal_failed";
/** `store_failed` counts calls to the store. */
export type HourWord = AttemptReason | RenewalOutcome | "store_failed";

/** The columns, in this order. */
export const hourWords = Object.keys({
  ...{ accepted: 0, unknown_user: 0, wrong_password: 0, disabled: 0, no_usable_hash: 0 },
  ...{ throttled_by_username_and_network: 0, throttled_by_username: 0, throttled_by_network: 0 },
  ...{ overloaded: 0, store_unavailable: 0, aborted: 0, internal: 0 },
  ...{ renewed: 0, renewal_refused: 0, renewal_failed: 0 },
  store_failed: 0,
} satisfies Record<HourWord, 0>) as readonly HourWord[];

export const hourMinutes = 60;
const columns = new Map(hourWords.map((word, i) => [word, i]));

/** One hour of one process or of several. */
export interface HourCounts {
  /** The last minute, counted since the epoch. */
  readonly minute: number;
  /** A row for each minute, the oldest first; a column for each word. */
  readonly rows: readonly (readonly number[])[];
}

export class LastHour {
  readonly #counts = new Uint32Array(hourMinutes * hourWords.length);
  readonly #now: () => number;
  #minute: number;

  /** @param now milliseconds since the epoch. */
  constructor(now: () => number) {
    this.#now = now;
    this.#minute = Math.floor(now() / 60_000);
  }

  count(word: HourWord): void {
    this.#advance();
    const at = this.#rowStart(this.#minute) + (columns.get(word) ?? 0);
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
  }

  /** @param code why a renewal failed; undefined if it succeeded. */
  countRenewal(code: AuthErrorCode | undefined): void {
    if (code === undefined) this.count("renewed");
    else this.count(/^token_|credentials$/.test(code) ? "renewal_refused" : "renewal_failed");
  }

  read(): HourCounts {
    this.#advance();
    const rows = Array.from({ length: hourMinutes }, (_, i) => {
      const start = this.#rowStart(this.#minute + 1 + i);
      return [...this.#counts.subarray(start, start + hourWords.length)];
    });
    return { minute: this.#minute, rows };
  }

  #rowStart(minute: number): number {
    return (minute % hourMinutes) * hourWords.length;
  }

  /**
   * Empties the rows of the minutes that have passed. If the clock goes back, the last minute goes
   * on.
   */
  #advance(): void {
    const minute = Math.floor(this.#now() / 60_000);
    if (minute <= this.#minute) return;
    const first = Math.max(this.#minute + 1, minute - hourMinutes + 1);
    for (let each = first; each <= minute; each++) {
      const start = this.#rowStart(each);
      this.#counts.fill(0, start, start + hourWords.length);
    }
    this.#minute = minute;
  }
}

/** The sum, minute by minute. */
export function sumHours(hours: readonly HourCounts[]): HourCounts {
  const minute = Math.max(...hours.map((each) => each.minute));
  const rows = Array.from({ length: hourMinutes }, (_, i) =>
    hourWords.map((_, column) =>
      hours.reduce((sum, each) => sum + (each.rows[i + minute - each.minute]?.[column] ?? 0), 0),
    ),
  );
  return { minute, rows };
}
