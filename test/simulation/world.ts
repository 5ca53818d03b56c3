/**
 * Virtual time for code that reads clocks and sets timers: one queue of events, the machines on which they happen,
 * and stand-ins for the globals of Node. An event ends when nothing more can happen without another one.
 */
import { seededRandom } from "../support/virtual-time.js";

/** Where code runs. Its clocks may be wrong; its events wait while it is frozen, and never come once it is dead. */
export class Machine {
  readonly name: string;
  readonly #world: World;
  readonly #bootedAtMs: number;
  isAlive = true;
  /** How far the time of day is ahead. */
  skewMs: number;
  /** Milliseconds that both clocks gain in a second. */
  driftMs = 0;
  frozenUntilMs = 0;
  /** For how long the machine slept, and its monotonic clock stood still. */
  sleptMs = 0;
  /** Whether its requests never arrive long after it has given them up. */
  isPunctual = false;
  /** The members of the replica set that it cannot reach. */
  readonly unreachable = new Set<number>();

  constructor(world: World, name: string, skewMs = 0) {
    this.#world = world;
    this.name = name;
    this.skewMs = skewMs;
    this.#bootedAtMs = world.nowMs;
  }

  wall(): number {
    return Math.floor(this.#world.nowMs + this.skewMs + this.#driftedMs());
  }

  monotonic(): number {
    return this.#world.nowMs - this.#bootedAtMs - this.sleptMs + this.#driftedMs();
  }

  /** Runs `work` there, as an event of its own. */
  run(work: () => void, delayMs = 0): Event {
    return this.#world.after(delayMs, work, this);
  }

  #driftedMs(): number {
    return ((this.#world.nowMs - this.#bootedAtMs) * this.driftMs) / 1000;
  }
}

export class Event {
  isCancelled = false;
  constructor(
    public atMs: number,
    readonly order: number,
    readonly work: () => void,
    readonly machine: Machine | undefined,
  ) {}

  cancel(): void {
    this.isCancelled = true;
  }
}

const realImmediate = setImmediate;
const drained = () => new Promise<void>((resolve) => realImmediate(resolve));

export class World {
  nowMs = Date.UTC(2030, 0, 1);
  /** The machine whose event is being handled. */
  current: Machine | undefined;
  /** Events by where they happened. */
  readonly steps = { machines: 0, replicaSet: 0 };
  readonly random: () => number;
  #order = 0;
  readonly #queue: Event[] = [];

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  between(min: number, max: number): number {
    return min + this.random() * (max - min);
  }

  oneOf<T>(values: readonly T[]): T {
    return values[Math.floor(this.random() * values.length)] as T;
  }

  /** Without a machine, `work` must be done when it returns. */
  after(delayMs: number, work: () => void, machine?: Machine): Event {
    const event = new Event(this.nowMs + Math.max(0, delayMs), this.#order++, work, machine);
    this.#push(event);
    return event;
  }

  /** Handles the events up to that time, until `isOver`. */
  async run(untilMs: number, isOver: () => boolean): Promise<void> {
    for (let event = this.#queue[0]; event && event.atMs <= untilMs; event = this.#queue[0]) {
      this.#pop();
      const { machine } = event;
      if (event.isCancelled || machine?.isAlive === false) continue;
      if (machine && machine.frozenUntilMs > event.atMs) {
        event.atMs = machine.frozenUntilMs;
        this.#push(event);
        continue;
      }
      this.nowMs = event.atMs;
      this.current = machine;
      event.work();
      if (machine) {
        this.steps.machines++;
        await drained();
        this.current = undefined;
      } else this.steps.replicaSet++;
      if (isOver()) return;
    }
    this.nowMs = untilMs;
  }

  #isBefore(a: Event, b: Event): boolean {
    return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
  }

  #push(event: Event): void {
    const queue = this.#queue;
    let index = queue.push(event) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#isBefore(event, queue[parent] as Event)) break;
      queue[index] = queue[parent] as Event;
      index = parent;
    }
    queue[index] = event;
  }

  #pop(): void {
    const queue = this.#queue;
    const last = queue.pop();
    if (last === undefined || queue.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= queue.length) break;
      if (
        child + 1 < queue.length &&
        this.#isBefore(queue[child + 1] as Event, queue[child] as Event)
      )
        child++;
      if (!this.#isBefore(queue[child] as Event, last)) break;
      queue[index] = queue[child] as Event;
      index = child;
    }
    queue[index] = last;
  }
}

let world: World | undefined;

/** The world whose clocks and timers the globals show. */
export function enter(next: World | undefined): void {
  world = next;
}

export function present(): World {
  if (!world) throw new Error("no world runs");
  return world;
}

function timer(work: (...args: unknown[]) => void, ms = 0, repeats = false, args: unknown[] = []) {
  const here = present();
  const machine = here.current;
  const handle = {
    event: undefined as Event | undefined,
    unref: () => handle,
    ref: () => handle,
    hasRef: () => true,
  };
  const set = () => {
    handle.event = here.after(
      Math.max(1, ms),
      () => {
        if (repeats) set();
        work(...args);
      },
      machine,
    );
  };
  set();
  return handle;
}

const clear = (handle?: ReturnType<typeof timer>) => handle?.event?.cancel();

/** What code finds in place of `node:timers/promises`. */
export const timersPromises = {
  setTimeout: <T>(ms?: number, value?: T, { signal }: { signal?: AbortSignal } = {}) =>
    new Promise<T>((resolve, reject) => {
      signal?.throwIfAborted();
      const handle = timer(() => resolve(value as T), ms);
      const onAbort = () => {
        clear(handle);
        reject(new DOMException("The operation was aborted", "AbortError"));
      };
      signal?.addEventListener("abort", onAbort, { once: true });
    }),
  setImmediate: <T>(value?: T) =>
    new Promise<T>((resolve) => present().after(0, () => resolve(value as T), present().current)),
};

/** Replaces the clocks, timers and random numbers of Node by those of the world; returns the way back. */
export function replaceGlobals(): () => void {
  const never = new AbortController().signal;
  const now = () => world?.current?.wall() ?? Math.floor(world?.nowMs ?? 0);
  const replaced: readonly (readonly [object, string, unknown])[] = [
    [
      globalThis,
      "setTimeout",
      (work: () => void, ms?: number, ...args: unknown[]) => timer(work, ms, false, args),
    ],
    [globalThis, "setInterval", (work: () => void, ms?: number) => timer(work, ms, true)],
    [
      globalThis,
      "setImmediate",
      (work: () => void, ...args: unknown[]) => timer(work, 0, false, args),
    ],
    [globalThis, "clearTimeout", clear],
    [globalThis, "clearInterval", clear],
    [globalThis, "performance", { now: () => world?.current?.monotonic() ?? world?.nowMs ?? 0 }],
    [Date, "now", now],
    [Math, "random", () => present().random()],
    [AbortSignal, "timeout", () => never],
  ];
  const before = replaced.map(([owner, name]) => Object.getOwnPropertyDescriptor(owner, name));
  for (const [owner, name, value] of replaced)
    Object.defineProperty(owner, name, { value, configurable: true, writable: true });
  return () => {
    for (const [index, [owner, name]] of replaced.entries()) {
      const descriptor = before[index];
      if (descriptor) Object.defineProperty(owner, name, descriptor);
    }
  };
}
