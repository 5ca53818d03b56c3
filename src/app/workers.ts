/**
 * Several processes on one port. The primary starts the workers, replaces those that die and serves
 * the management port; each worker is a complete service. They talk over node:cluster's channel.
 * Depends on config, observability, server and its neighbour `app.ts`.
 */
import cluster, { type Worker } from "node:cluster";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import type { App } from "./app.js";
import { workerCount, type Config } from "../config/config.js";
import { version } from "../config/version.js";
import type { Logger } from "../observability/log.js";
import type { MetricSnapshot } from "../observability/metrics.js";
import type { ProcessStatus } from "../pages/status.js";
import { createManagementServer, type ManagementServer } from "../server/management.js";
import { createStatusPages } from "./status.js";

/** A message of the primary. */
type Command =
  | { readonly type: "stop" }
  | { readonly type: "metrics"; readonly id: number }
  | { readonly type: "status"; readonly id: number };
/** A message of a worker. */
type Report =
  | { readonly type: "started"; readonly url: string }
  | { readonly type: "readiness"; readonly problems: Readonly<Record<string, string>> }
  | { readonly type: "metrics"; readonly id: number; readonly metrics: MetricSnapshot }
  | { readonly type: "status"; readonly id: number; readonly status: ProcessStatus };

export const isWorker = cluster.isWorker;

/** A worker's share of a number that holds for the whole machine; at least 1. */
export function shareOf(total: number, workers: number, index: number): number {
  return Math.max(1, Math.floor(total / workers) + (index < total % workers ? 1 : 0));
}

/** In a worker: aborts when the primary sends `stop`. */
export function primaryStop(): AbortSignal {
  const controller = new AbortController();
  cluster.worker?.on("message", ({ type }: Command) => {
    if (type === "stop") controller.abort();
  });
  return controller.signal;
}

/** In a worker: reports its state to the primary. */
export function reportToPrimary(app: App): void {
  const { worker } = cluster;
  if (worker === undefined) return;
  const send = (report: Report) => {
    if (worker.isConnected()) worker.send(report);
  };
  worker.on("message", (command: Command) => {
    if (command.type === "stop") return;
    const { id } = command;
    if (command.type === "status") send({ type: "status", id, status: app.status() });
    else void app.metrics().then((metrics) => send({ type: "metrics", id, metrics }));
  });
  async function watchReadiness(): Promise<void> {
    while (worker?.isConnected()) {
      send({ type: "readiness", problems: app.readiness.problems() });
      await app.readiness.changed(new AbortController().signal);
    }
  }
  send({ type: "started", url: app.url });
  void watchReadiness();
}

/** In a worker: disconnects, so that the process can end. */
export function leavePrimary(): void {
  cluster.worker?.disconnect();
}

/** No worker can be kept running. The workers have logged the cause. */
export class WorkersFailed extends Error {
  override readonly name = "WorkersFailed";
  readonly exitCode: number;
  constructor(exitCode: number) {
    super("the workers cannot be started");
    this.exitCode = exitCode;
  }
}

interface Member {
  readonly worker: Worker;
  readonly startedAt: number;
  url: string | undefined;
  problems: Readonly<Record<string, string>>;
  /** Its last reported metrics. */
  metrics: MetricSnapshot;
  /** Whether it was told to stop, so that its end is expected. */
  isStopping: boolean;
}

const backOffMinMs = 100;
const backOffMaxMs = 10_000;
/** After this many deaths in a row, failed starts included, a place counts as failed. */
const deathsMax = 6;
/** A worker that lived this long was healthy: its death starts a new row. */
const settledMs = 60_000;
const answerMs = 2_000;
const readyMs = 30_000;

/**
 * In the primary: runs the workers until `stop` aborts and all have ended. Passes to `onHangup` the
 * function for SIGHUP, which replaces the workers one by one, each after its successor is ready.
 * @throws WorkersFailed
 */
export async function runPrimary(
  config: Config,
  logger: Logger,
  stop: AbortSignal,
  onHangup: (listener: () => void) => void,
): Promise<void> {
  const primary = new Primary(config, logger);
  try {
    await primary.start();
    onHangup(() => void primary.roll());
    await Promise.race([primary.failed, aborted(stop)]);
  } finally {
    await primary.close();
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, "abort");
}

class Primary {
  readonly failed: Promise<never>;
  readonly #config: Config;
  readonly #logger: Logger;
  /** The serving worker of each place. A place is a fixed share of the machine. */
  readonly #members = new Map<number, Member>();
  /** Every worker that has not ended, those being replaced included. */
  readonly #running = new Set<Member>();
  readonly #management: ManagementServer;
  readonly #ending = new AbortController();
  #fail: (error: Error) => void = () => undefined;
  #rolling: Promise<void> | undefined;
  /** Deaths in a row, by place. */
  readonly #deaths = new Map<number, number>();
  #requests = 0;
  #departed: Promise<MetricSnapshot> = Promise.resolve([]);

  constructor(config: Config, logger: Logger) {
    this.#config = config;
    this.#logger = logger;
    this.failed = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.failed.catch(() => undefined);
    const problems = () => this.#problems();
    this.#management = createManagementServer({
      readiness: { problems, isReady: () => Object.keys(problems()).length === 0 },
      metrics: () => this.#metrics(),
      page: createStatusPages(() => this.#statuses(), { problems }),
    });
  }

  async start(): Promise<void> {
    // The first one starts alone, so that a fault of the configuration is reported once.
    await this.#fork(0);
    const count = workerCount(this.#config);
    const others = Array.from({ length: count - 1 }, (_, index) => this.#fork(index + 1));
    await Promise.all(others);
    const { MANAGEMENT_PORT, MANAGEMENT_HOST } = this.#config;
    const managementUrl = await this.#management.listen(MANAGEMENT_PORT, MANAGEMENT_HOST);
    const { url } = this.#members.get(0) ?? {};
    this.#logger.info({ event: "started", url, managementUrl, version, workers: count }, "serving");
  }

  /** Replaces every worker. A worker that cannot be replaced goes on. */
  roll(): Promise<void> {
    this.#rolling ??= this.#rollAll().finally(() => (this.#rolling = undefined));
    return this.#rolling;
  }

  async #rollAll(): Promise<void> {
    this.#logger.info({ event: "rolling" }, "replacing the workers");
    for (const [index, old] of [...this.#members]) {
      if (this.#ending.signal.aborted) return;
      try {
        const member = await this.#fork(index, true);
        await this.#untilReady(member);
        this.#members.set(index, member);
        this.#stop(old);
      } catch (error) {
        this.#logger.error({ event: "roll_failed", err: error }, "the old workers go on");
        return;
      }
    }
    this.#logger.info({ event: "rolled" }, "the workers are replaced");
  }

  async #untilReady(member: Member): Promise<void> {
    const deadline = performance.now() + readyMs;
    while (Object.keys(member.problems).length > 0) {
      if (performance.now() > deadline || !this.#running.has(member)) {
        this.#stop(member);
        throw new Error("the new worker does not become ready");
      }
      await sleep(50);
    }
  }

  async close(): Promise<void> {
    this.#ending.abort();
    const ends = [...this.#running].map(({ worker }) => once(worker, "exit"));
    this.#running.forEach((member) => this.#stop(member));
    await Promise.all(ends);
    await this.#management.close();
  }

  #stop(member: Member): void {
    member.isStopping = true;
    if (member.worker.isConnected()) member.worker.send({ type: "stop" } satisfies Command);
  }

  /**
   * Resolves when the worker serves.
   * @throws WorkersFailed if it ends before
   */
  #fork(index: number, isSuccessor = false): Promise<Member> {
    const { HASH_CONCURRENCY, HASH_QUEUE_MAX } = this.#config;
    const count = workerCount(this.#config);
    const worker = cluster.fork({
      HASH_CONCURRENCY: shareOf(HASH_CONCURRENCY, count, index),
      HASH_QUEUE_MAX: shareOf(HASH_QUEUE_MAX, count, index),
    });
    const member: Member = {
      worker,
      startedAt: performance.now(),
      url: undefined,
      problems: { process: "starting" },
      metrics: [],
      isStopping: false,
    };
    if (!isSuccessor) this.#members.set(index, member);
    this.#running.add(member);
    return new Promise((resolve, reject) => {
      worker.on("message", (report: Report) => {
        if (report.type === "started") {
          member.url = report.url;
          // The stop message may have been sent before the worker listened for it.
          if (member.isStopping) this.#stop(member);
          resolve(member);
        } else if (report.type === "readiness") member.problems = report.problems;
      });
      worker.on("error", () => undefined);
      worker.once("exit", (code: number | null, signal: string | null) => {
        this.#running.delete(member);
        this.#departed = this.#keepCounters(member);
        member.problems = { process: "ended" };
        reject(new WorkersFailed(code || 1));
        if (member.url === undefined || this.#members.get(index) !== member) return;
        if (member.isStopping || this.#ending.signal.aborted) return;
        this.#logger.error({ event: "worker_ended", code, signal }, "a worker ended by itself");
        void this.#replace(index, performance.now() - member.startedAt);
      });
    });
  }

  /** Starts a replacement; waits longer after each death in a row. */
  async #replace(index: number, livedMs: number): Promise<void> {
    let deaths = livedMs > settledMs ? 0 : (this.#deaths.get(index) ?? 0);
    for (;;) {
      const waitMs = Math.min(backOffMinMs * 2 ** deaths, backOffMaxMs);
      this.#deaths.set(index, ++deaths);
      if (this.#noneCanLive()) {
        this.#fail(new WorkersFailed(1));
        return;
      }
      await sleep(waitMs, undefined, { signal: this.#ending.signal }).catch(() => undefined);
      if (this.#ending.signal.aborted) return;
      const started = await this.#fork(index).then(
        () => true,
        () => false,
      );
      if (started) return;
    }
  }

  /** Whether no worker serves and each place has seen `deathsMax` deaths in a row. */
  #noneCanLive(): boolean {
    const isServed = [...this.#running].some(({ url }) => url !== undefined);
    const places = [...this.#members.keys()];
    return !isServed && places.every((index) => (this.#deaths.get(index) ?? 0) >= deathsMax);
  }

  #problems(): Record<string, string> {
    const all = [...this.#members].flatMap(([index, { problems }]) =>
      Object.entries(problems).map(([part, problem]) => [`worker ${index}: ${part}`, problem]),
    );
    if (this.#ending.signal.aborted) all.push(["shutdown", "draining"]);
    return Object.fromEntries(all) as Record<string, string>;
  }

  /** The sum over the workers. For one that does not answer in time, its last report counts. */
  async #metrics() {
    const { formatMetrics } = await import("../observability/metrics.js");
    await Promise.all([...this.#running].map((member) => this.#askForMetrics(member)));
    const live = [...this.#running].map(({ metrics }) => metrics);
    return formatMetrics([await this.#departed, ...live]);
  }

  /** Keeps the counters of a worker that ends, as last reported. */
  async #keepCounters(member: Member): Promise<MetricSnapshot> {
    const before = this.#departed;
    const { sumCounters } = await import("../observability/metrics.js");
    return sumCounters(await before, member.metrics);
  }

  /** The statuses of the workers that answer in time. */
  async #statuses(): Promise<ProcessStatus[]> {
    const running = [...this.#running];
    const reports = await Promise.all(running.map(({ worker }) => this.#ask(worker, "status")));
    return reports.flatMap((report) => (report?.type === "status" ? report.status : []));
  }

  async #askForMetrics(member: Member): Promise<void> {
    const report = await this.#ask(member.worker, "metrics");
    if (report?.type === "metrics") member.metrics = report.metrics;
  }

  /** Resolves with undefined if the worker does not answer in time. */
  #ask(worker: Worker, type: "metrics" | "status"): Promise<Report | undefined> {
    if (!worker.isConnected()) return Promise.resolve(undefined);
    const id = ++this.#requests;
    return new Promise((resolve) => {
      const settle = (report?: Report) => {
        clearTimeout(timer);
        worker.off("message", onReport);
        resolve(report);
      };
      const onReport = (report: Report) => {
        if (report.type === type && report.id === id) settle(report);
      };
      const timer = setTimeout(settle, answerMs);
      worker.on("message", onReport).send({ type, id } satisfies Command);
    });
  }
}
