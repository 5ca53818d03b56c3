/** Selects the usernames that Latchkey answers itself, by a keyed hash. Depends on node:crypto and the port. */
import { createHmac } from "node:crypto";
import type { StoredLead, TakeoverStore } from "./store.js";

export type Leader = "ours" | "theirs";

export interface LeadOptions {
  readonly store: Pick<TakeoverStore, "lead" | "setLead">;
  /** 32 random bytes, the same for all processes on the store. */
  readonly secret: () => Promise<Uint8Array>;
  /** `UPSTREAM_LEAD`. */
  readonly variable: number;
  /** Maps all spellings of a user's name to one text. */
  readonly fold: (username: string) => string;
  readonly onChange: (percent: number) => void;
  readonly onError: (error: unknown) => void;
}

const pollMs = 400;

export class Lead {
  readonly #options: LeadOptions;
  #percent: number | undefined;
  #key: Uint8Array | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;
  #hasFailed = false;

  constructor(options: LeadOptions) {
    this.#options = options;
  }

  /** In per cent of the usernames; undefined until it was read from the store. */
  get percent(): number | undefined {
    return this.#percent;
  }

  /** The server that answers this user; undefined until the lead was read from the store. */
  of(username: string): Leader | undefined {
    const percent = this.#percent;
    if (percent === undefined || this.#key === undefined) return undefined;
    if (percent === 0) return "theirs";
    return percent === 100 || this.#shareOf(username, this.#key) < percent ? "ours" : "theirs";
  }

  /** Reads the lead and follows it until `stop`. Never rejects. */
  async start(): Promise<void> {
    await this.#look();
    if (!this.#isStopped) this.#timer = setTimeout(() => void this.start(), pollMs).unref();
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  async #look(): Promise<void> {
    const { secret, onChange, onError } = this.#options;
    try {
      this.#key ??= await secret();
      const percent = await this.#read();
      this.#hasFailed = false;
      if (percent === this.#percent) return;
      this.#percent = percent;
      onChange(percent);
    } catch (error) {
      if (!this.#hasFailed) onError(error);
      this.#hasFailed = true;
    }
  }

  async #read(): Promise<number> {
    const { store, variable } = this.#options;
    const stored = await store.lead();
    // The variable is compared at the start only. Later, another process with another variable may have set the lead,
    // and the last write counts.
    const isOurs = this.#percent !== undefined || stored?.variable === variable;
    if (stored !== undefined && isOurs) return stored.percent;
    await store.setLead({ percent: variable, variable });
    return variable;
  }

  /** A number from 0 to below 100, evenly distributed over the names. */
  #shareOf(username: string, key: Uint8Array): number {
    const name = `lead:${this.#options.fold(username)}`;
    return (createHmac("sha256", key).update(name).digest().readUInt32BE() / 2 ** 32) * 100;
  }
}

/**
 * Sets the lead for all processes. It holds until their `UPSTREAM_LEAD` changes.
 * @returns the lead before
 */
export async function setLead(
  store: Pick<TakeoverStore, "lead" | "setLead">,
  percent: number,
  variable: number,
): Promise<StoredLead | undefined> {
  const before = await store.lead();
  await store.setLead({ percent, variable: before?.variable ?? variable });
  return before;
}
