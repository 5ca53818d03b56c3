/**
 * A collector of traces in a process of its own. It decodes what it receives with the classes that
 * OpenTelemetry publishes for Python.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pythonPackage } from "./python.js";

export interface Span {
  readonly name: string;
  readonly kind: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for the root span. */
  readonly parentSpanId: string;
  readonly traceState: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly status: { readonly code: string; readonly message: string };
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly resource: Readonly<Record<string, unknown>>;
}

interface Export {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly spans: readonly Span[];
}

export interface Collector {
  readonly url: string;
  readonly exports: readonly Export[];
  spans(): readonly Span[];
  /** Makes it answer 503 from now on, or no longer. */
  refuse(isRefusing: boolean): void;
  freeze(): void;
  /** Ends it. Everything sent by then is complete. */
  stop(): Promise<void>;
}

/**
 * Undefined, with a message on stderr, if it cannot be installed.
 * @throws Error instead if `CI` is set.
 */
export async function startCollector(): Promise<Collector | undefined> {
  const binDir = pythonPackage("opentelemetry-proto", "1.45.2");
  if (binDir === undefined) {
    const missing = "no collector for the tests: python3 or the package index is missing";
    if (process.env["CI"]) throw new Error(missing);
    process.stderr.write(`\n*** SKIPPED: ${missing} ***\n\n`);
    return undefined;
  }
  const folder = await mkdtemp(join(tmpdir(), "latchkey-collector-"));
  const refusing = join(folder, "refusing");
  const script = join(import.meta.dirname, "otlp-collector.py");
  const child = spawn(join(binDir, "python"), [script, refusing], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout });
  const ended = once(lines, "close");
  const [first] = (await once(lines, "line")) as [string];
  const { port } = JSON.parse(first) as { port: number };
  const received: Export[] = [];
  lines.on("line", (line) => received.push(JSON.parse(line) as Export));
  return {
    url: `http://127.0.0.1:${port}`,
    exports: received,
    spans: () => received.flatMap(({ spans }) => spans),
    refuse(isRefusing) {
      if (isRefusing) writeFileSync(refusing, "");
      else rmSync(refusing, { force: true });
    },
    freeze: () => void child.kill("SIGSTOP"),
    async stop() {
      child.kill("SIGKILL");
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
