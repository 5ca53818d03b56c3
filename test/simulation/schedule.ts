/** What happens to a fleet and when, made from a seed; and the least of it that still breaks a law. */
import { seededRandom } from "../support/virtual-time.js";

type Work =
  | "guesses"
  | "crowd"
  | "visit"
  | "renew"
  | "rotate"
  | "revokeKey"
  | "revoke"
  | "passwd"
  | "disable";
type Fault =
  | "stepDown"
  | "crash"
  | "isolate"
  | "lag"
  | "weather"
  | "cutOff"
  | "memberClock"
  | "replicaClock"
  | "drift"
  | "freeze"
  | "kill"
  | "slowHashes";

export interface Happening {
  readonly atMs: number;
  readonly kind: Work | Fault;
  /** Numbers from 0 to 1 that choose whom it concerns and how. */
  readonly a: number;
  readonly b: number;
  /** How long it lasts. */
  readonly ms: number;
}

export interface Schedule {
  readonly seed: number;
  readonly lengthMs: number;
  /** The pause between two looks of a replica at the keys. */
  readonly pollMs: number;
  /** How wrong clocks are. */
  readonly skewMs: number;
  readonly happenings: readonly Happening[];
}

const second = 1000;

/** Weights of what happens, in three kinds of history. */
const kinds: readonly {
  readonly lengthMs: number;
  readonly pollMs: number;
  readonly skewMs: number;
  readonly count: number;
  readonly faultMs: number;
  readonly weights: Partial<Record<Happening["kind"], number>>;
}[] = [
  {
    ...{
      lengthMs: 240 * second,
      pollMs: 2 * second,
      skewMs: 3 * second,
      count: 70,
      faultMs: 20 * second,
    },
    weights: { guesses: 30, crowd: 6, visit: 6, slowHashes: 1, passwd: 1, memberClock: 1 },
  },
  {
    ...{
      lengthMs: 4500 * second,
      pollMs: 15 * second,
      skewMs: 80 * second,
      count: 240,
      faultMs: 90 * second,
    },
    weights: { visit: 40, renew: 10, rotate: 2, revokeKey: 0.3, replicaClock: 5, drift: 2 },
  },
  {
    ...{
      lengthMs: 300 * second,
      pollMs: 500,
      skewMs: 2 * second,
      count: 100,
      faultMs: 15 * second,
    },
    weights: {
      visit: 10,
      crowd: 5,
      renew: 20,
      revoke: 6,
      passwd: 3,
      disable: 3,
      revokeKey: 2,
      replicaClock: 3,
    },
  },
];

const everyFault = {
  stepDown: 2,
  crash: 2,
  isolate: 3,
  lag: 2,
  weather: 3,
  cutOff: 2,
  freeze: 2,
  kill: 3,
  drift: 1,
};

const commands: readonly Happening["kind"][] = ["revokeKey", "revoke", "passwd", "disable"];

export function makeSchedule(seed: number): Schedule {
  const random = seededRandom(seed);
  const kind = kinds[Math.floor(random() * kinds.length)] ?? kinds[0];
  if (!kind) throw new Error("no kind of history");
  const { lengthMs, pollMs, skewMs, count, faultMs } = kind;
  const weights = Object.entries({ ...everyFault, ...kind.weights }) as [
    Happening["kind"],
    number,
  ][];
  const total = weights.reduce((sum, [, weight]) => sum + weight, 0);
  const pick = () => {
    let at = random() * total;
    return weights.find(([, weight]) => (at -= weight) < 0)?.[0] ?? "guesses";
  };
  const happenings = Array.from({ length: count }, () => ({
    ...{ atMs: Math.floor(random() * lengthMs), kind: pick(), a: random(), b: random() },
    ms: Math.floor(-Math.log(1 - random()) * faultMs),
  }));
  // A command at the wrong moment.
  for (const { atMs, kind } of [...happenings]) {
    if (kind !== "isolate" || random() < 0.5) continue;
    const command = commands[Math.floor(random() * commands.length)] ?? "revoke";
    const ms = Math.floor(random() * faultMs);
    const afterMs = Math.floor(random() * 3 * second);
    happenings.push({ atMs: atMs + afterMs, kind: command, a: random(), b: random(), ms });
  }
  happenings.sort((x, y) => x.atMs - y.atMs);
  return { seed, lengthMs, pollMs, skewMs, happenings };
}

/**
 * Drops happenings for as long as a law is still broken without them, larger parts first; what it has by then, when
 * the time is over.
 */
export async function shrink(
  schedule: Schedule,
  breaks: (schedule: Schedule) => Promise<boolean>,
  isOver: () => boolean,
): Promise<Schedule> {
  let { happenings } = schedule;
  for (
    let size = Math.ceil(happenings.length / 2);
    size >= 1;
    size = size === 1 ? 0 : Math.ceil(size / 2)
  ) {
    for (let at = 0; at < happenings.length && !isOver();) {
      const rest = happenings.filter((_, index) => index < at || index >= at + size);
      if (await breaks({ ...schedule, happenings: rest })) happenings = rest;
      else at += size;
    }
  }
  return { ...schedule, happenings };
}

export function print({ seed, happenings }: Schedule): string {
  const lines = happenings.map(({ atMs, kind, a, b, ms }) => {
    const numbers = [a, b].map((each) => each.toFixed(2)).join(" ");
    return `  ${(atMs / second).toFixed(1).padStart(7)} s  ${kind} ${numbers}, ${(ms / second).toFixed(1)} s`;
  });
  return [`SEED=${seed}`, ...lines].join("\n");
}
