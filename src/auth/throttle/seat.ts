/**
 * One of a limited number of seats, each held by one process at a time. Depends on node:crypto,
 * errors and store.
 */
import { randomUUID } from "node:crypto";
import type { ThrottleStore } from "./store.js";

export interface Seat {
  /** Whether this process holds one for certain. */
  isHeld(): boolean;
  /** Takes one and keeps it until `close`; where there is none or no store, tries again. Never throws. */
  open(): Promise<void>;
  close(): Promise<void>;
}

const key = "seats";
const renewMs = 20_000;
/** The difference forgives clocks that disagree. */
const leaseMs = 60_000;
const certainMs = 40_000;

export function createSeat(options: {
  readonly store: ThrottleStore;
  readonly seats: number;
  readonly clock: { now(): number };
}): Seat {
  const { store, seats, clock } = options;
  const id = randomUUID();
  let certainUntilMs = 0;
  let timer: NodeJS.Timeout | undefined;

  /** Writes what `change` makes of the leases: holder and end. */
  async function write(change: (leases: Map<string, number>) => boolean): Promise<boolean> {
    for (;;) {
      const [stored] = await store.read([key]);
      const entries = Object.entries(
        JSON.parse(stored?.document ?? "{}") as Record<string, number>,
      );
      const leases = new Map(entries.filter(([, untilMs]) => untilMs > clock.now()));
      if (!change(leases)) return false;
      const document = JSON.stringify(Object.fromEntries(leases));
      const lifetime = { expiresAtMs: clock.now() + leaseMs, isDisposable: false };
      if (await store.write(key, stored?.version, { document, ...lifetime })) return true;
    }
  }

  async function renew(): Promise<void> {
    const nowMs = clock.now();
    const isTaken = await write((leases) => {
      if (!leases.has(id) && leases.size >= seats) return false;
      leases.set(id, nowMs + leaseMs);
      return true;
    });
    if (isTaken) certainUntilMs = nowMs + certainMs;
  }

  // Without its seat a process does more writes, no more than that.
  const tryRenew = () => renew().catch(() => undefined);

  return {
    isHeld: () => clock.now() < certainUntilMs,
    open() {
      timer ??= setInterval(() => void tryRenew(), renewMs).unref();
      return tryRenew();
    },
    async close() {
      clearInterval(timer);
      certainUntilMs = 0;
      await write((leases) => leases.delete(id)).catch(() => false);
    },
  };
}
